import { useState, type KeyboardEvent } from 'react'
import { COMMANDS, keysFor, shown, type Command } from '../app/commands'
import { pressed } from '../app/keyboard'
import { about, useT } from '../i18n'
import { setSettings, useSettings } from '../state/settings'
import { Dialog } from './Dialog'

/** The browser does these itself; they cannot be given other keys. */
const BUILT_IN = new Set(['copy', 'cut'])
const MODIFIERS = new Set(['Control', 'Shift', 'Alt', 'Meta'])

/** All keys, and a way to change them: choose one, press another. */
export function Shortcuts({ onClose }: { onClose: () => void }) {
  const t = useT()
  const own = useSettings((state) => state.keys)
  const [waits, setWaits] = useState<string | null>(null)
  const [said, setSaid] = useState('')

  const give = (command: Command, keys: readonly string[] | null): void => {
    const next: Record<string, readonly string[]> = { ...own }
    if (keys === null) delete next[command.id]
    else next[command.id] = keys
    setSettings({ keys: next })
  }
  const press = (event: KeyboardEvent, command: Command): void => {
    if (waits !== command.id || MODIFIERS.has(event.key)) return
    event.preventDefault()
    event.stopPropagation()
    setWaits(null)
    const keys = pressed(event.nativeEvent)
    if (keys === 'Escape') return
    if (keys === 'Backspace') return give(command, [])
    const other = COMMANDS.find((each) => each.id !== command.id && keysFor(each).includes(keys))
    if (other) return setSaid(t('keys.taken', { keys: shown(keys), name: t(other.title) }))
    setSaid(t('keys.given', { keys: shown(keys), name: t(command.title) }))
    give(command, [keys])
  }
  const row = (command: Command) => (
    <div key={command.id} className="key-row">
      <span>{t(command.title)}</span>
      <button
        type="button"
        className={`key-set ${own[command.id] ? 'own' : ''} ${waits === command.id ? 'waits' : ''}`}
        data-first={command.id === 'run' || undefined}
        disabled={BUILT_IN.has(command.id)}
        aria-label={`${about(t(command.title), keysFor(command).map(shown).join(', ') || t('keys.none'))}. ${t('keys.change')}`}
        title={t('keys.change')}
        onClick={() => (setWaits(command.id), setSaid(t('keys.press', { name: t(command.title) })))}
        onBlur={() => setWaits(null)}
        onKeyDown={(event) => press(event, command)}
      >
        {waits === command.id ? t('keys.waiting') : keysFor(command).length ? keysFor(command).map((keys) => <kbd key={keys}>{shown(keys)}</kbd>) : <kbd>–</kbd>}
      </button>
    </div>
  )
  const part = (group: Command['group']) => (
    <div>
      <h3>{t(`keys.${group}`)}</h3>
      {COMMANDS.filter((command) => command.group === group).map(row)}
    </div>
  )
  const fixed: readonly (readonly [string, string])[] = [
    [t('cmd.walk'), '← ↑ ↓ →'],
    [t('cmd.enter'), 'Enter'],
    [t('cmd.leave'), 'Esc'],
    [t('cmd.nudge'), 'Alt + ← ↑ ↓ →'],
    [t('cmd.paste'), shown('Mod+V')],
    [t('cmd.weight'), shown('Mod+↑')],
  ]
  return (
    <Dialog
      title={t('keys.title')}
      onClose={onClose}
      className="wide-dialog"
      actions={
        <>
          <span className="muted left" role="status">
            {said || t('keys.hint')}
          </span>
          <button type="button" className="button" disabled={!Object.keys(own).length} onClick={() => (setSettings({ keys: {} }), setSaid(''))}>
            {t('keys.reset')}
          </button>
        </>
      }
    >
      <div className="keys-grid">
        <div>{part('general')}</div>
        <div>
          {part('graph')}
          <div>
            <h3>{t('keys.fixed')}</h3>
            {fixed.map(([name, keys]) => (
              <div key={name} className="key-row">
                <span>{name}</span>
                <span className="key-set">
                  <kbd>{keys}</kbd>
                </span>
              </div>
            ))}
          </div>
        </div>
      </div>
    </Dialog>
  )
}
