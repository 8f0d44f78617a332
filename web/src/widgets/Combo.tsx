import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { sameJson, type Json } from '../io/json'
import type { InputDef } from '../model/definitions'

interface Props {
  readonly input: InputDef
  readonly value: Json
  readonly name: string
  readonly disabled: boolean
  readonly onChange: (value: Json) => void
}

/** A choice. A value that the server does not have stays visible and kept. */
export function Combo({ input, value, name, disabled, onChange }: Props) {
  const t = useT()
  const at = input.choices.findIndex((choice) => sameJson(choice, value))
  return (
    <>
      <select aria-label={name} value={at} disabled={disabled} onChange={(event) => onChange(input.choices[Number(event.target.value)] ?? value)}>
        {at < 0 && <option value={-1}>{value === '' || value === null ? t('field.none') : t('field.missing', { value: String(value) })}</option>}
        {input.choices.map((choice, index) => (
          <option key={index} value={index}>
            {String(choice)}
          </option>
        ))}
      </select>
      <Icon name="down" className="caret icon" />
    </>
  )
}
