import { useT } from '../i18n'
import { setSettings, useSettings, type Language, type Theme } from '../state/settings'
import { setView } from '../state/view'
import { Dialog } from './Dialog'

const THEMES: readonly Theme[] = ['system', 'dark', 'light']
const LANGUAGES: readonly (readonly [Language, string])[] = [
  ['en', 'English'],
  ['zh', '中文'],
]
const SCALES = [0.9, 1, 1.15, 1.3, 1.5]
const SIZES = [11, 13, 15, 18]

export function Settings({ onClose }: { onClose: () => void }) {
  const t = useT()
  const settings = useSettings()
  return (
    <Dialog
      title={t('settings.title')}
      onClose={onClose}
      actions={
        <button type="button" className="button left" onClick={() => setView({ dialog: 'shortcuts' })}>
          {t('settings.keys')}
        </button>
      }
    >
      <div className="settings">
        <Choice name={t('settings.theme')} of={THEMES} value={settings.theme} text={(theme) => t(`settings.${theme}`)} pick={(theme) => setSettings({ theme })} />
        <Choice name={t('settings.language')} of={LANGUAGES.map(([code]) => code)} value={settings.language} text={(code) => LANGUAGES.find((each) => each[0] === code)?.[1] ?? code} lang={(code) => (code === 'zh' ? 'zh-CN' : code)} pick={(language) => setSettings({ language })} />
        <Choice name={t('settings.scale')} of={SCALES} value={settings.scale} text={(scale) => `${Math.round(scale * 100)} %`} pick={(scale) => setSettings({ scale })} />
        <Choice name={t('settings.promptSize')} of={SIZES} value={settings.promptSize} text={String} pick={(promptSize) => setSettings({ promptSize })} />
        <hr className="wide" />
        <Tick name={t('settings.previews')} hint={t('settings.previewsHint')} on={settings.previews} set={(previews) => setSettings({ previews })} />
        <Tick name={t('settings.letters')} hint={t('settings.lettersHint')} on={settings.letterKeys} set={(letterKeys) => setSettings({ letterKeys })} />
      </div>
    </Dialog>
  )
}

interface ChoiceProps<Value> {
  readonly name: string
  readonly of: readonly Value[]
  readonly value: Value
  readonly text: (value: Value) => string
  readonly lang?: (value: Value) => string
  readonly pick: (value: Value) => void
}

function Choice<Value extends string | number>({ name, of, value, text, lang, pick }: ChoiceProps<Value>) {
  return (
    <>
      <span>{name}</span>
      <div className="choice" role="group" aria-label={name}>
        {of.map((each) => (
          <button key={each} type="button" lang={lang?.(each)} aria-pressed={each === value} onClick={() => pick(each)}>
            {text(each)}
          </button>
        ))}
      </div>
    </>
  )
}

function Tick({ name, hint, on, set }: { name: string; hint: string; on: boolean; set: (on: boolean) => void }) {
  return (
    <>
      <label className="tick">
        <input type="checkbox" checked={on} onChange={(event) => set(event.target.checked)} />
        {name}
      </label>
      <span className="muted">{hint}</span>
    </>
  )
}
