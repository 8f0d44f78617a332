import { addPicture, openMade, openText } from '../app/files'
import { Icon } from '../app/Icon'
import { said, useT } from '../i18n'
import { setView, useView } from '../state/view'
import { Dialog } from './Dialog'

/** A picture that carries a workflow, or the settings by which another program made it: which of the two is wanted? */
export function Dropped() {
  const t = useT()
  const dropped = useView((view) => view.dropped)
  const close = (): void => setView({ dropped: null })
  if (!dropped) return null
  const { file, made } = dropped
  const open = (): void => {
    close()
    if (made) openMade(made, file.name)
    else openText(dropped.workflow, file.name.replace(/\.\w+$/, ''))
  }
  return (
    <Dialog title={t(made ? 'drop.settingsTitle' : 'drop.title')} onClose={close}>
      <div className="drop-choice">
        <button type="button" data-first onClick={open}>
          <Icon name="folder" />
          <b>{t(made ? 'drop.settings' : 'drop.open')}</b>
          <span className="muted">{made?.program ? t('drop.settingsOf', { program: made.program }) : t('drop.openHint')}</span>
        </button>
        <button type="button" onClick={() => (close(), void addPicture(file, dropped.at))}>
          <Icon name="image" />
          <b>{t('drop.input')}</b>
          <span className="muted">{t('drop.inputHint')}</span>
        </button>
      </div>
      {made && made.left.length > 0 && (
        <div className="muted">
          <b>{t('drop.leftOut')}</b>
          <ul className="left-out">
            {made.left.map((each) => (
              <li key={each}>{said(each)}</li>
            ))}
          </ul>
        </div>
      )}
    </Dialog>
  )
}
