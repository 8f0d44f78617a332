import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { sameJson, type Json } from '../io/json'
import type { InputDef } from '../model/definitions'
import { setView } from '../state/view'

interface Props {
  readonly node: string
  readonly input: InputDef
  readonly value: Json
  readonly name: string
  readonly disabled: boolean
  readonly onChange: (value: Json) => void
}

/** A choice; its list opens in the palette, where typing filters. A value that the server lacks stays, and is kept. */
export function Combo({ node, input, value, name, disabled, onChange }: Props) {
  const t = useT()
  const at = input.choices.findIndex((choice) => sameJson(choice, value))
  const shown = at >= 0 ? String(value) : value === '' || value === null ? t('field.none') : t('field.missing', { value: String(value) })
  const open = (button: HTMLElement): void => {
    const box = button.closest('.field')?.getBoundingClientRect()
    setView({ palette: { kind: 'choose', at: box ? [box.left, box.bottom + 24] : null, place: null, filter: {}, pending: { to: node, input: input.name } } })
  }
  const step = (by: number): void => {
    const next = input.choices[Math.max(0, Math.min(input.choices.length - 1, at + by))]
    if (next !== undefined) onChange(next)
  }
  return (
    <>
      <button
        type="button"
        className="combo"
        role="combobox"
        aria-haspopup="dialog"
        aria-expanded="false"
        aria-label={name}
        title={shown}
        value={shown}
        disabled={disabled}
        onClick={(event) => open(event.currentTarget)}
        onKeyDown={(event) => {
          if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return
          event.preventDefault()
          event.stopPropagation()
          step(event.key === 'ArrowDown' ? 1 : -1)
        }}
      >
        {shown}
      </button>
      <Icon name="down" className="caret icon" />
    </>
  )
}
