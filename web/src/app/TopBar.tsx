import { useState } from 'react'
import { useT } from '../i18n'
import { redo, undo, useTab } from '../state/documents'
import { useRun } from '../state/run'
import { setSettings, useSettings } from '../state/settings'
import { setView } from '../state/view'
import { setAuto, useAuto, type Auto } from './auto'
import { command, keysOf, stop } from './commands'
import { Icon, type IconName } from './Icon'
import { runOpen } from './queue'
import { Tabs } from './Tabs'

export function TopBar() {
  const t = useT()
  const tab = useTab()
  const sideOpen = useSettings((state) => state.sideOpen)
  const last = tab?.history.past.at(-1)?.name
  const next = tab?.history.future[0]?.name
  return (
    <header className="topbar">
      <div className="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <circle cx="16" cy="16" r="11" fill="none" stroke="var(--accent)" strokeWidth="4" />
          <circle cx="16" cy="16" r="4" fill="var(--accent)" />
        </svg>
        {t('app.name')}
      </div>
      <button type="button" className="button bare" onClick={() => setView({ dialog: 'open' })} title={`${t('bar.workflows')} (${keysOf('workflows')})`}>
        <Icon name="folder" />
        {t('bar.workflows')}
      </button>
      <Tabs />
      <span className="bar-gap" />
      <Tool icon="plus" label={`${t('bar.add')} (${keysOf('add')})`} run={command('add').run} />
      <Tool icon="undo" label={last ? t('bar.undoNamed', { name: last }) : t('bar.undo')} disabled={!last} run={undo} />
      <Tool icon="redo" label={next ? t('bar.redoNamed', { name: next }) : t('bar.redo')} disabled={!next} run={redo} />
      <span className="bar-rule" />
      <Tool icon="keys" label={`${t('bar.shortcuts')} (?)`} run={command('shortcuts').run} />
      <Tool icon="gear" label={t('bar.settings')} run={command('settings').run} />
      <Tool icon="side" label={`${t('bar.side')} (${keysOf('side')})`} pressed={sideOpen} run={() => setSettings({ sideOpen: !sideOpen })} />
      <span className="bar-rule" />
      <RunBox />
    </header>
  )
}

function Tool({ icon, label, run, disabled, pressed }: { icon: IconName; label: string; run: () => unknown; disabled?: boolean; pressed?: boolean }) {
  return (
    <button type="button" className="button bare square" aria-label={label} title={label} disabled={disabled} aria-pressed={pressed} onClick={() => void run()}>
      <Icon name={icon} />
    </button>
  )
}

function RunBox() {
  const t = useT()
  const [batch, setBatch] = useState('1')
  const remaining = useRun((state) => state.remaining)
  const auto = useAuto((state) => state.mode)
  const count = Math.max(1, Math.min(100, Number(batch) || 1))
  return (
    <div className="run-box">
      <button type="button" className="button" title={`${t('cmd.stop')} (${keysOf('stop')})`} disabled={remaining === 0 && auto === 'off'} onClick={stop}>
        <Icon name="stop" />
        {t('run.stop')}
      </button>
      <select className={`auto ${auto}`} aria-label={t('run.auto')} title={t('run.auto')} value={auto} onChange={(event) => setAuto(event.target.value as Auto)}>
        {(['off', 'change', 'repeat'] as const).map((mode) => (
          <option key={mode} value={mode}>
            {t(`run.auto.${mode}`)}
          </option>
        ))}
      </select>
      <input className="batch" inputMode="numeric" aria-label={t('run.batch')} title={t('run.batch')} value={batch} onChange={(event) => setBatch(event.target.value.replace(/\D/g, ''))} onBlur={() => setBatch(String(count))} />
      <button type="button" className="button primary" id="run" title={`${t('run.run')} (${keysOf('run')})`} onClick={() => void runOpen(count)}>
        <Icon name="play" />
        {t('run.run')}
        <kbd>{keysOf('run')}</kbd>
        {remaining > 1 && <span className="run-count">{remaining}</span>}
      </button>
    </div>
  )
}
