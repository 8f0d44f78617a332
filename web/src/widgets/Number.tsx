import { useEffect, useRef, useState, type KeyboardEvent } from 'react'
import { t } from '../i18n'
import { RawNumber, toNumber, type Json } from '../io/json'
import type { InputDef } from '../model/definitions'
import { whole } from '../model/seed'
import { checkValue } from '../model/validate'
import { tell } from '../state/view'

interface Props {
  readonly input: InputDef
  readonly value: Json
  readonly name: string
  readonly disabled: boolean
  readonly onChange: (value: Json) => void
}

/** Reads what was typed: whole numbers of any length, decimals with point or comma. */
export function readNumber(text: string, kind: 'int' | 'float'): Json | null {
  const bare = text.trim().replace(',', '.')
  if (kind === 'int') return /^[+-]?\d+$/.test(bare) ? whole(BigInt(bare.replace(/^\+/, ''))) : null
  return bare !== '' && Number.isFinite(Number(bare)) ? Number(bare) : null
}

export function stepped(input: InputDef, value: Json, by: number): Json {
  const text = value instanceof RawNumber ? value.text : String(value)
  if (input.widget === 'int' && /^-?\d+$/.test(text)) return whole(BigInt(text) + BigInt(Math.round(toNumber(input.options.step, 1)) || 1) * BigInt(by))
  const step = toNumber(input.options.step, 0.1)
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9), (text.split('.')[1] ?? '').length)
  return Number((toNumber(value) + step * by).toFixed(Math.min(digits, 10)))
}

export function NumberField({ input, value, name, disabled, onChange }: Props) {
  const kind = input.widget === 'int' ? 'int' : 'float'
  const shown = value instanceof RawNumber ? value.text : String(value)
  const [draft, setDraft] = useState<string | null>(null)
  const field = useRef<HTMLInputElement>(null)
  useEffect(() => setDraft(null), [shown])

  const accept = (next: Json | null): boolean => {
    if (next === null || checkValue(input, next)) return false
    onChange(next)
    return true
  }
  const type = (text: string): void => {
    const kept = accept(readNumber(text, kind))
    setDraft(kept && String(readNumber(text, kind)) === text ? null : text)
  }
  const leave = (): void => {
    if (draft === null) return
    const next = readNumber(draft, kind)
    const problem = next === null ? { code: 'not_a_number' as const, params: { value: draft } } : checkValue(input, next)
    if (problem) tell(t(`problem.${problem.code}`, { input: input.name, ...problem.params }), 'error')
    setDraft(null)
  }
  const press = (event: KeyboardEvent<HTMLInputElement>): void => {
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      event.preventDefault()
      accept(stepped(input, value, (event.key === 'ArrowUp' ? 1 : -1) * (event.shiftKey ? 10 : 1)))
    } else if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey) leave()
    else if (event.key === 'Escape' && draft !== null) {
      event.stopPropagation()
      setDraft(null)
    }
  }
  return (
    <input
      ref={field}
      className="value"
      type="text"
      inputMode={kind === 'int' ? 'numeric' : 'decimal'}
      aria-label={name}
      value={draft ?? shown}
      disabled={disabled}
      onFocus={(event) => event.target.select()}
      onChange={(event) => type(event.target.value)}
      onBlur={leave}
      onKeyDown={press}
    />
  )
}
