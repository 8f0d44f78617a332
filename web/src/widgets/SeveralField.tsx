import { useState, type KeyboardEvent } from 'react'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import type { Json } from '../io/json'
import type { InputDef } from '../model/definitions'
import { textOf, valuesOf, writeSeveral, type Several } from '../model/sweep'

interface Props {
  readonly input: InputDef
  readonly several: Several
  readonly name: string
  readonly onChange: (value: Json) => void
}

/** A field of several values: the run makes a picture for each, and for each of another field's. */
export function SeveralField({ input, several, name, onChange }: Props) {
  const t = useT()
  const [draft, setDraft] = useState<string | null>(null)
  const isBad = draft !== null && valuesOf(draft, input) === null
  const leave = (): void => {
    const values = draft === null ? null : valuesOf(draft, input)
    if (values) onChange(writeSeveral(values, several.axis))
    setDraft(null)
  }
  const press = (event: KeyboardEvent): void => {
    if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey) leave()
    else if (event.key === 'Escape' && draft !== null) (event.stopPropagation(), setDraft(null))
  }
  const hint = t(input.widget === 'combo' ? 'several.hintNames' : input.widget === 'text' ? 'several.hintTexts' : 'several.hint')
  return (
    <>
      <input className="value several" type="text" aria-label={t('several.of', { name })} aria-invalid={isBad} title={hint} placeholder={hint} spellCheck={false} value={draft ?? textOf(several, input)} onChange={(event) => setDraft(event.target.value)} onBlur={leave} onKeyDown={press} />
      <input className="axis" type="text" aria-label={t('several.axis')} title={t('several.axisHint')} placeholder={t('several.axis')} spellCheck={false} value={several.axis} onChange={(event) => onChange(writeSeveral(several.values, event.target.value.trim()))} />
      <button type="button" aria-label={t('several.one')} title={t('several.one')} onClick={() => onChange(several.values[0] ?? '')}>
        <Icon name="close" />
      </button>
    </>
  )
}
