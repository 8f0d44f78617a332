import { useEffect, useState } from 'react'
import { api } from '../api/client'
import { chooseFile, openEmpty, openExample, openText } from '../app/files'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { tell } from '../state/view'
import { Dialog } from './Dialog'

export function Workflows({ onClose }: { onClose: () => void }) {
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
    <Dialog
      title={t('open.title')}
      onClose={onClose}
      actions={
        <button type="button" className="button" onClick={() => (onClose(), chooseFile())}>
          <Icon name="folder" />
          {t('open.file')}
        </button>
      }
    >
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
    </Dialog>
  )
}

