import { useLayoutEffect, useRef, useState, type KeyboardEvent } from 'react'
import { useT } from '../i18n'
import { completed, fittingNames, wordAt } from '../model/completion'
import { difference, reweigh } from '../model/weight'
import { embeddings } from '../state/server'

interface Props {
  readonly value: string
  readonly name: string
  readonly hint?: string
  readonly className?: string
  readonly disabled?: boolean
  readonly focused?: boolean
  /** A prompt: words have weights, and `embedding:` is completed. */
  readonly weighs?: boolean
  readonly onChange: (value: string) => void
}

/** A text box with the browser's own undo: the text is put in only where it differs, since React's way of holding it
 *  would cut the undo history at every letter. */
export function TextArea({ value, name, hint, className, disabled, focused, weighs, onChange }: Props) {
  const t = useT()
  const box = useRef<HTMLTextAreaElement>(null)
  const [offered, setOffered] = useState<readonly string[]>([])
  const [at, setAt] = useState(0)
  useLayoutEffect(() => {
    if (box.current && box.current.value !== value) box.current.value = value
  }, [value])

  const look = async (): Promise<void> => {
    const held = box.current
    const word = held && weighs ? wordAt(held.value, held.selectionStart) : null
    if (word === null) return setOffered([])
    const names = fittingNames(await embeddings(), word)
    setOffered(document.activeElement === held ? names : [])
    setAt(0)
  }
  const put = (embedding: string | undefined): void => {
    const held = box.current
    if (!held || embedding === undefined) return
    const next = completed(held.value, held.selectionStart, embedding)
    held.setSelectionRange(next.from, held.selectionStart)
    document.execCommand('insertText', false, next.text)
    setOffered([])
  }
  const press = (event: KeyboardEvent<HTMLTextAreaElement>): void => {
    if (event.nativeEvent.isComposing || !offered.length) return weighs ? weigh(event) : undefined
    if (event.key === 'ArrowDown') setAt((at + 1) % offered.length)
    else if (event.key === 'ArrowUp') setAt((at - 1 + offered.length) % offered.length)
    else if ((event.key === 'Enter' && !event.ctrlKey && !event.metaKey) || event.key === 'Tab') put(offered[at])
    else if (event.key === 'Escape') setOffered([])
    else return weigh(event)
    event.preventDefault()
    event.stopPropagation()
  }
  return (
    <>
      <textarea
        ref={box}
        className={className}
        aria-label={name}
        aria-autocomplete={weighs ? 'list' : undefined}
        placeholder={hint}
        defaultValue=""
        disabled={disabled}
        autoFocus={focused}
        spellCheck={false}
        onInput={(event) => {
          if (/^history/.test((event.nativeEvent as InputEvent).inputType)) letGo(event.currentTarget)
          onChange(event.currentTarget.value)
          if (weighs) void look()
        }}
        onBlur={() => setOffered([])}
        onKeyDown={press}
      />
      {offered.length > 0 && (
        <ul className="offered" role="listbox" aria-label={t('field.embeddings')}>
          {offered.map((embedding, index) => (
            <li key={embedding} role="option" aria-selected={index === at} onPointerDown={(event) => (event.preventDefault(), put(embedding))}>
              {embedding}
            </li>
          ))}
        </ul>
      )}
    </>
  )
}

/** Browsers select what an undo brings back: the next letter would wipe it out. */
function letGo(box: HTMLTextAreaElement): void {
  box.setSelectionRange(box.selectionEnd, box.selectionEnd)
}

/** Ctrl+Up and Ctrl+Down change the weight of the word at the caret, as if it had been typed. */
function weigh(event: KeyboardEvent<HTMLTextAreaElement>): void {
  if (!(event.ctrlKey || event.metaKey) || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return
  event.preventDefault()
  const box = event.currentTarget
  const next = reweigh(box.value, box.selectionStart, box.selectionEnd, event.key === 'ArrowUp' ? 0.05 : -0.05)
  if (next.text === box.value) return
  const caret = box.selectionStart
  const isCaret = caret === box.selectionEnd
  const [from, to, words] = difference(box.value, next.text)
  box.setSelectionRange(from, to)
  document.execCommand('insertText', false, words) // the only way that keeps the box's own undo
  if (isCaret) box.setSelectionRange(caret + next.moved, caret + next.moved) // nothing is selected that was not: a letter would wipe it out
  else box.setSelectionRange(next.from, next.to)
}
