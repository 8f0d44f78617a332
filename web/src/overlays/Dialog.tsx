import { useEffect, useRef, type ReactNode } from 'react'

/** A modal window of the browser's own kind. */
export function Dialog({ title, onClose, className, children, bare }: { title: string; onClose: () => void; className?: string; children: ReactNode; bare?: boolean }) {
  const box = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const held = box.current
    if (held && !held.open) held.showModal()
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
          {children}
        </div>
      )}
    </dialog>
  )
}
