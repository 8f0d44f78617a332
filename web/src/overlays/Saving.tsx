import { useState } from 'react'
import { saveAs } from '../app/files'
import { useT } from '../i18n'
import { closeTab, tabOf, useTab } from '../state/documents'
import { Dialog } from './Dialog'

export function SaveAs({ onClose }: { onClose: () => void }) {
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
          <input type="text" data-first value={name} onFocus={(event) => event.target.select()} onChange={(event) => (setName(event.target.value), setExists(false))} />
        </label>
        {exists && <p role="alert">{t('save.exists', { name })}</p>}
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

export function Closing({ id, onClose, onSave }: { id: string; onClose: () => void; onSave: () => void }) {
  const t = useT()
  const tab = tabOf(id)
  if (!tab) return null
  return (
    <Dialog
      title={t('close.title', { name: tab.name })}
      onClose={onClose}
      actions={
        <>
          <button type="button" className="button" onClick={onClose}>
            {t('close.cancel')}
          </button>
          <button type="button" className="button" onClick={() => (onClose(), closeTab(id))}>
            {t('close.discard')}
          </button>
          <button type="button" className="button primary" data-first onClick={() => (onClose(), onSave())}>
            {t('close.save')}
          </button>
        </>
      }
    >
      <p className="muted">{t('close.hint')}</p>
    </Dialog>
  )
}
