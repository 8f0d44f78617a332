import { useEffect, useRef, type ReactNode } from 'react'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'

interface Props {
  readonly title: string
  readonly onClose: () => void
  readonly className?: string
  /** Fills the window and brings its own head. */
  readonly bare?: boolean
  /** The buttons of the last row. */
  readonly actions?: ReactNode
  readonly children: ReactNode
}

/** A modal window of the browser's own kind: a title, a body that scrolls, what can be done, and a way out. */
export function Dialog({ title, onClose, className, bare, actions, children }: Props) {
  const t = useT()
  const box = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const held = box.current
    if (held && !held.open) held.showModal()
    held?.querySelector<HTMLElement>('[data-first]')?.focus()
    return () => {
      held?.close()
      requestAnimationFrame(() => document.activeElement === document.body && document.getElementById('canvas')?.focus())
    }
  }, [])
  return (
    <dialog ref={box} className={className} aria-label={title} onCancel={(event) => (event.preventDefault(), onClose())} onPointerDown={(event) => event.target === box.current && onClose()}>
      {bare ? (
        children
      ) : (
        <div className="dialog">
          <h2>{title}</h2>
          <div className="dialog-body">{children}</div>
          {actions && <div className="dialog-row">{actions}</div>}
          <button type="button" className="button bare square dialog-close" aria-label={t('settings.close')} title={t('settings.close')} onClick={onClose}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </dialog>
  )
}
