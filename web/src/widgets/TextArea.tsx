import { useLayoutEffect, useRef, type KeyboardEvent } from 'react'
import { reweigh } from '../model/weight'

interface Props {
  readonly value: string
  readonly name: string
  readonly hint?: string
  readonly className?: string
  readonly disabled?: boolean
  readonly focused?: boolean
  readonly weighs?: boolean
  readonly onChange: (value: string) => void
}

/** A text box with the browser's own undo: the text is put in only where it differs, since React's way of holding it
 *  would cut the undo history at every letter. */
export function TextArea({ value, name, hint, className, disabled, focused, weighs, onChange }: Props) {
  const box = useRef<HTMLTextAreaElement>(null)
  useLayoutEffect(() => {
    if (box.current && box.current.value !== value) box.current.value = value
  }, [value])
  return (
    <textarea
      ref={box}
      className={className}
      aria-label={name}
      placeholder={hint}
      defaultValue=""
      disabled={disabled}
      autoFocus={focused}
      spellCheck={false}
      onInput={(event) => onChange(event.currentTarget.value)}
      onKeyDown={weighs ? weigh : undefined}
    />
  )
}

/** Ctrl+Up and Ctrl+Down change the weight of the word at the caret, as if it had been typed. */
function weigh(event: KeyboardEvent<HTMLTextAreaElement>): void {
  if (!(event.ctrlKey || event.metaKey) || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return
  event.preventDefault()
  const box = event.currentTarget
  const next = reweigh(box.value, box.selectionStart, box.selectionEnd, event.key === 'ArrowUp' ? 0.05 : -0.05)
  if (next.text === box.value) return
  box.select()
  document.execCommand('insertText', false, next.text) // the only way that keeps the box's own undo
  box.setSelectionRange(next.from, next.to)
}
