import { addPicture, openText } from '../app/files'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { setView, useView } from '../state/view'
import { Dialog } from './Dialog'

/** A picture that carries a workflow: which of the two is wanted? */
export function Dropped() {
  const t = useT()
  const dropped = useView((view) => view.dropped)
  const close = (): void => setView({ dropped: null })
  if (!dropped) return null
  return (
    <Dialog title={t('drop.title')} onClose={close}>
      <div className="drop-choice">
        <button type="button" data-first onClick={() => (close(), openText(dropped.workflow, dropped.file.name.replace(/\.\w+$/, '')))}>
          <Icon name="folder" />
          <b>{t('drop.open')}</b>
          <span className="muted">{t('drop.openHint')}</span>
        </button>
        <button type="button" onClick={() => (close(), void addPicture(dropped.file, dropped.at))}>
          <Icon name="image" />
          <b>{t('drop.input')}</b>
          <span className="muted">{t('drop.inputHint')}</span>
        </button>
      </div>
    </Dialog>
  )
}
