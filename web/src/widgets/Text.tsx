import type { KeyboardEvent } from 'react'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { toText, type Json } from '../io/json'
import type { InputDef } from '../model/definitions'
import { reweigh } from '../model/weight'
import { setView } from '../state/view'

interface Props {
  readonly node: string
  readonly input: InputDef
  readonly value: Json
  readonly name: string
  readonly hint: string
  readonly disabled: boolean
  readonly onChange: (value: string) => void
}

/** Ctrl+Up and Ctrl+Down change the weight of the word at the caret. */
export function weigh(event: KeyboardEvent<HTMLTextAreaElement>, onChange: (value: string) => void): void {
  if (!(event.ctrlKey || event.metaKey) || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return
  event.preventDefault()
  const box = event.currentTarget
  const next = reweigh(box.value, box.selectionStart, box.selectionEnd, event.key === 'ArrowUp' ? 0.05 : -0.05)
  onChange(next.text)
  requestAnimationFrame(() => box.setSelectionRange(next.from, next.to))
}

export function TextField({ node, input, value, name, hint, disabled, onChange }: Props) {
  const t = useT()
  const text = toText(value, value === null ? '' : String(value))
  if (input.options.multiline !== true) return <input className="value" type="text" aria-label={name} value={text} disabled={disabled} spellCheck={false} onChange={(event) => onChange(event.target.value)} />
  return (
    <>
      <textarea aria-label={name} placeholder={toText(input.options.placeholder) || hint} value={text} disabled={disabled} spellCheck={false} onChange={(event) => onChange(event.target.value)} onKeyDown={(event) => weigh(event, onChange)} />
      <button type="button" className="large" tabIndex={-1} aria-label={t('field.large')} title={t('field.large')} onClick={() => setView({ dialog: 'text', textField: { node, input: input.name } })}>
        <Icon name="expand" />
      </button>
    </>
  )
}
