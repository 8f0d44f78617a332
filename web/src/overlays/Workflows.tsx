import { useEffect, useState } from 'react'
import { api, type Example } from '../api/client'
import { chooseFile, openEmpty, openExample, openText } from '../app/files'
import { Icon } from '../app/Icon'
import { wordsOf } from '../app/refusals'
import { useT } from '../i18n'
import { useSettings } from '../state/settings'
import { tell } from '../state/view'
import { Dialog } from './Dialog'

interface Saved {
  readonly path: string
  readonly modified: number
}

const complain = (error: unknown): void => tell(wordsOf(error), 'error')

/** The examples come a moment after the window: the first of them takes the focus that had nothing better to be on. */
const takeFocus = (button: HTMLElement | null): void => {
  if (button && !document.activeElement?.closest('.examples, .files')) button.focus()
}

/** Workflows to begin with, each with a picture that it made, and those that were saved. */
export function Workflows({ onClose }: { onClose: () => void }) {
  const t = useT()
  const language = useSettings((state) => state.language)
  const [examples, setExamples] = useState<readonly Example[]>([])
  const [files, setFiles] = useState<readonly Saved[] | null>(null)
  const [words, setWords] = useState('')
  useEffect(() => {
    api.examples().then(setExamples, () => undefined) // without them one begins with an empty canvas
    api.savedFiles().then(
      (found) => setFiles([...found].sort((a, b) => b.modified - a.modified)),
      () => setFiles([]),
    )
  }, [])
  const open = async (file: Saved): Promise<void> => {
    onClose()
    try {
      openText(await api.readFile(file.path), file.path.split('/').at(-1) ?? file.path, { path: file.path, stored: file.modified })
    } catch (error) {
      complain(error)
    }
  }
  const begin = async (example: Example): Promise<void> => {
    onClose()
    if (example.name === 'text_to_image') return openExample() // laid out by hand
    try {
      openText(await api.readExample(example.name), example.title[language])
    } catch (error) {
      complain(error)
    }
  }
  const shown = files?.filter((file) => file.path.toLowerCase().includes(words.toLowerCase()))
  return (
    <Dialog
      title={t('open.title')}
      onClose={onClose}
      className="wide-dialog"
      actions={
        <>
          <button type="button" className="button" onClick={() => (onClose(), void openEmpty())}>
            <Icon name="plus" />
            {t('open.exampleEmpty')}
          </button>
          <button type="button" className="button" onClick={() => (onClose(), chooseFile())}>
            <Icon name="folder" />
            {t('open.file')}
          </button>
        </>
      }
    >
      <h3>{t('open.examples')}</h3>
      <ul className="examples">
        {examples.map((example, at) => (
          <li key={example.name}>
            <button type="button" ref={at === 0 ? takeFocus : undefined} onClick={() => void begin(example)}>
              <img src={api.exampleUrl(example.name)} alt="" loading="lazy" />
              <b>{example.title[language]}</b>
              <span>{example.description[language]}</span>
            </button>
          </li>
        ))}
      </ul>
      <h3 className="files-head">
        {t('open.saved')}
        {(files?.length ?? 0) > 8 && <input type="search" aria-label={t('open.find')} placeholder={t('open.find')} value={words} onChange={(event) => setWords(event.target.value)} />}
      </h3>
      <div className="files">
        {files && !files.length && <p className="muted">{t('open.none')}</p>}
        {shown?.map((file) => (
          <button key={file.path} type="button" onClick={() => void open(file)}>
            <span>{file.path.replace(/\.json$/, '')}</span>
            <time>{new Date(file.modified).toLocaleString(document.documentElement.lang, { dateStyle: 'medium', timeStyle: 'short' })}</time>
          </button>
        ))}
      </div>
    </Dialog>
  )
}
