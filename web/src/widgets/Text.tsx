import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { toText, type Json } from '../io/json'
import { boxText, readBox } from '../model/box'
import type { InputDef } from '../model/definitions'
import { setView } from '../state/view'
import { TextArea } from './TextArea'
import { useSuggests } from './useIsBox'

interface Props {
  readonly node: string
  readonly input: InputDef
  readonly value: Json
  readonly name: string
  readonly hint: string
  readonly disabled: boolean
  readonly onChange: (value: Json) => void
}

export function TextField({ node, input, value, name, hint, disabled, onChange }: Props) {
  const t = useT()
  const suggests = useSuggests(node)
  const text = toText(value, value === null ? '' : String(value))
  if (input.type === 'COLOR') return <input className="value colour" type="color" aria-label={name} value={/^#[\da-f]{6}$/i.test(text) ? text : '#000000'} disabled={disabled} onChange={(event) => onChange(event.target.value)} />
  if (input.type === 'BOUNDING_BOX') return <input className="value" type="text" aria-label={name} value={boxText(value)} disabled={disabled} spellCheck={false} onChange={(event) => onChange(readBox(event.target.value))} />
  if (input.options.multiline !== true) return <input className="value" type="text" aria-label={name} value={text} disabled={disabled} spellCheck={false} onChange={(event) => onChange(event.target.value)} />
  return (
    <>
      <TextArea name={name} hint={toText(input.options.placeholder) || (suggests ? t('box.prompt') : hint)} value={text} disabled={disabled} weighs onChange={onChange} />
      <button type="button" className="large" tabIndex={-1} aria-label={t('field.large')} title={t('field.large')} onClick={() => setView({ dialog: 'text', textField: { node, input: input.name } })}>
        <Icon name="expand" />
      </button>
    </>
  )
}
