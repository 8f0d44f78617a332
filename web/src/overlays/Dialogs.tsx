import { useEffect, useState } from 'react'
import { api } from '../api/client'
import { onAskClose } from '../app/closing'
import { COMMANDS, shown } from '../app/commands'
import { addPicture, chooseFile, openEmpty, openExample, openText, saveAs } from '../app/files'
import { Icon } from '../app/Icon'
import { setField } from '../graph/actions'
import { useT } from '../i18n'
import { toText } from '../io/json'
import { closeTab, tabOf, useDoc, useTab } from '../state/documents'
import { setSettings, useSettings, type Language, type Theme } from '../state/settings'
import { setView, tell, useView } from '../state/view'
import { TextArea } from '../widgets/TextArea'
import { Dialog } from './Dialog'

export function Dialogs() {
  const dialog = useView((view) => view.dialog)
  const dropped = useView((view) => view.dropped)
  const picture = useView((view) => view.shown)
  const [naming, setNaming] = useState(false)
  const [closing, setClosing] = useState<string | null>(null)
  useEffect(() => {
    onAskClose(setClosing)
    const ask = (): void => setNaming(true)
    window.addEventListener('darkroom:save-as', ask)
    return () => window.removeEventListener('darkroom:save-as', ask)
  }, [])
  const close = (): void => setView({ dialog: null })
  return (
    <>
      {dialog === 'open' && <Workflows onClose={close} />}
      {dialog === 'settings' && <Settings onClose={close} />}
      {dialog === 'shortcuts' && <Shortcuts onClose={close} />}
      {dialog === 'text' && <LargeText onClose={close} />}
      {dropped && <Dropped />}
      {picture && <Viewer url={picture} />}
      {naming && <SaveAs onClose={() => setNaming(false)} />}
      {closing !== null && <Closing id={closing} onClose={() => setClosing(null)} onSave={() => setNaming(true)} />}
    </>
  )
}

function Workflows({ onClose }: { onClose: () => void }) {
  const t = useT()
  const [files, setFiles] = useState<{ path: string; modified: number }[] | null>(null)
  useEffect(() => {
    api.savedFiles().then(setFiles, () => setFiles([]))
  }, [])
  const open = async (path: string, stored: number): Promise<void> => {
    onClose()
    try {
      openText(await api.readFile(path), path.split('/').at(-1) ?? path, { path, stored })
    } catch (error) {
      tell(error instanceof Error ? error.message : '', 'error')
    }
  }
  return (
    <Dialog title={t('open.title')} onClose={onClose}>
      <h3 className="muted">{t('open.examples')}</h3>
      <div className="starts">
        <button type="button" onClick={() => (onClose(), openExample())}>
          <b>{t('open.exampleText')}</b>
          <span className="muted">{t('open.exampleTextHint')}</span>
        </button>
        <button type="button" onClick={() => (onClose(), void openEmpty())}>
          <b>{t('open.exampleEmpty')}</b>
          <span className="muted">{t('open.exampleEmptyHint')}</span>
        </button>
      </div>
      <h3 className="muted">{t('open.saved')}</h3>
      <div className="files">
        {files && !files.length && <p className="muted">{t('open.none')}</p>}
        {files?.map((file) => (
          <button key={file.path} type="button" onClick={() => void open(file.path, file.modified)}>
            <span>{file.path.replace(/\.json$/, '')}</span>
            <time>{new Date(file.modified).toLocaleString(document.documentElement.lang)}</time>
          </button>
        ))}
      </div>
      <div className="dialog-row">
        <button type="button" className="button" onClick={() => (onClose(), chooseFile())}>
          <Icon name="folder" />
          {t('open.file')}
        </button>
        <button type="button" className="button" onClick={onClose}>
          {t('side.close')}
        </button>
      </div>
    </Dialog>
  )
}

function Settings({ onClose }: { onClose: () => void }) {
  const t = useT()
  const settings = useSettings()
  const themes: readonly Theme[] = ['system', 'dark', 'light']
  const languages: readonly (readonly [Language, string])[] = [
    ['en', 'English'],
    ['zh', '中文'],
  ]
  return (
    <Dialog title={t('settings.title')} onClose={onClose}>
      <div>
        <p className="muted" id="set-theme">
          {t('settings.theme')}
        </p>
        <div className="choice" role="group" aria-labelledby="set-theme">
          {themes.map((theme) => (
            <button key={theme} type="button" aria-pressed={settings.theme === theme} onClick={() => setSettings({ theme })}>
              {t(`settings.${theme}`)}
            </button>
          ))}
        </div>
      </div>
      <div>
        <p className="muted" id="set-language">
          {t('settings.language')}
        </p>
        <div className="choice" role="group" aria-labelledby="set-language">
          {languages.map(([language, name]) => (
            <button key={language} type="button" lang={language} aria-pressed={settings.language === language} onClick={() => setSettings({ language })}>
              {name}
            </button>
          ))}
        </div>
      </div>
      <label style={{ display: 'flex', gap: 8, alignItems: 'center' }}>
        <input type="checkbox" checked={settings.letterKeys} onChange={(event) => setSettings({ letterKeys: event.target.checked })} />
        {t('settings.letters')}
      </label>
      <div className="dialog-row">
        <button type="button" className="button" onClick={onClose}>
          {t('settings.close')}
        </button>
      </div>
    </Dialog>
  )
}

function Shortcuts({ onClose }: { onClose: () => void }) {
  const t = useT()
  const more: readonly (readonly [string, string])[] = [
    [t('cmd.walk'), '← ↑ ↓ →'],
    [t('cmd.enter'), 'Enter'],
    [t('cmd.leave'), 'Esc'],
    [t('cmd.nudge'), 'Alt + ← ↑ ↓ →'],
    [t('cmd.paste'), shown('Mod+V')],
    [t('cmd.weight'), shown('Mod+↑')],
  ]
  return (
    <Dialog title={t('keys.title')} onClose={onClose}>
      <div className="keys-grid" tabIndex={0}>
        {(['general', 'graph'] as const).map((group) => [
          <h3 key={group}>{t(`keys.${group}`)}</h3>,
          ...COMMANDS.filter((command) => command.group === group && command.keys.length).map((command) => (
            <div key={command.id}>
              {t(command.title)} <kbd>{command.keys.map(shown).join('  ')}</kbd>
            </div>
          )),
        ])}
        {more.map(([name, keys]) => (
          <div key={name}>
            {name} <kbd>{keys}</kbd>
          </div>
        ))}
      </div>
      <div className="dialog-row">
        <button type="button" className="button" autoFocus onClick={onClose}>
          {t('settings.close')}
        </button>
      </div>
    </Dialog>
  )
}

function LargeText({ onClose }: { onClose: () => void }) {
  const t = useT()
  const field = useView((view) => view.textField)
  const doc = useDoc()
  if (!field) return null
  const change = (text: string): void => setField(field.node, field.input, text)
  return (
    <Dialog title={t('field.large')} onClose={onClose}>
      <TextArea className="large-text" name={field.input} focused weighs value={toText(doc?.nodes.get(field.node)?.values[field.input])} onChange={change} />
      <div className="dialog-row">
        <button type="button" className="button" onClick={onClose}>
          {t('settings.close')}
        </button>
      </div>
    </Dialog>
  )
}

function Dropped() {
  const t = useT()
  const dropped = useView((view) => view.dropped)
  const close = (): void => setView({ dropped: null })
  if (!dropped) return null
  return (
    <Dialog title={t('drop.title')} onClose={close}>
      <div className="drop-choice">
        <button type="button" autoFocus onClick={() => (close(), openText(dropped.workflow, dropped.file.name.replace(/\.\w+$/, '')))}>
          <b>{t('drop.open')}</b>
          <span className="muted">{t('drop.openHint')}</span>
        </button>
        <button type="button" onClick={() => (close(), void addPicture(dropped.file, dropped.at))}>
          <b>{t('drop.input')}</b>
          <span className="muted">{t('drop.inputHint')}</span>
        </button>
      </div>
    </Dialog>
  )
}

function Viewer({ url }: { url: string }) {
  const t = useT()
  const close = (): void => setView({ shown: null })
  return (
    <Dialog title={t('side.open')} className="viewer" onClose={close} bare>
      <header>
        <span style={{ flex: 1 }}>{new URL(url).searchParams.get('filename')}</span>
        <a className="button" href={url} download>
          {t('side.download')}
        </a>
        <button type="button" className="button" onClick={close}>
          <Icon name="close" />
          {t('side.close')}
        </button>
      </header>
      <div className="frame-box" onClick={close}>
        <img src={url} alt={new URL(url).searchParams.get('filename') ?? ''} onLoad={(event) => event.currentTarget.classList.toggle('small-picture', event.currentTarget.naturalWidth < 96)} />
      </div>
    </Dialog>
  )
}

function SaveAs({ onClose }: { onClose: () => void }) {
  const t = useT()
  const tab = useTab()
  const [name, setName] = useState(tab?.path?.replace(/\.json$/, '') ?? tab?.name ?? '')
  const [exists, setExists] = useState(false)
  const save = async (replace: boolean): Promise<void> => {
    const clean = name.trim().replace(/[\\:*?"<>|]/g, '_')
    if (!tab || !clean) return
    const done = await saveAs(replace ? { ...tab, stored: 0 } : tab, clean, replace)
    if (done === 'exists') setExists(true)
    else onClose()
  }
  return (
    <Dialog title={t('save.title')} onClose={onClose}>
      <form
        style={{ display: 'grid', gap: 14 }}
        onSubmit={(event) => {
          event.preventDefault()
          void save(false)
        }}
      >
        <label>
          {t('save.name')}
          <input type="text" autoFocus value={name} onFocus={(event) => event.target.select()} onChange={(event) => (setName(event.target.value), setExists(false))} />
        </label>
        {exists && <p>{t('save.exists', { name })}</p>}
        <div className="dialog-row">
          <button type="button" className="button" onClick={onClose}>
            {t('save.cancel')}
          </button>
          {exists && (
            <button type="button" className="button" onClick={() => void save(true)}>
              {t('save.replace')}
            </button>
          )}
          <button type="submit" className="button primary">
            {t('save.ok')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

function Closing({ id, onClose, onSave }: { id: string; onClose: () => void; onSave: () => void }) {
  const t = useT()
  const tab = tabOf(id)
  if (!tab) return null
  return (
    <Dialog title={t('close.title', { name: tab.name })} onClose={onClose}>
      <div className="dialog-row">
        <button type="button" className="button" onClick={onClose}>
          {t('close.cancel')}
        </button>
        <button type="button" className="button" onClick={() => (onClose(), closeTab(id))}>
          {t('close.discard')}
        </button>
        <button type="button" className="button primary" autoFocus onClick={() => (onClose(), onSave())}>
          {t('close.save')}
        </button>
      </div>
    </Dialog>
  )
}
