import { command, keysOf } from '../app/commands'
import { useT } from '../i18n'
import { Dialog } from './Dialog'

/** What the model in the box can draw, and how others come in. */
export function Models({ onClose }: { onClose: () => void }) {
  const t = useT()
  return (
    <Dialog
      title={t('models.title')}
      onClose={onClose}
      actions={
        <button type="button" className="button primary" data-first onClick={() => (onClose(), command('reload').run())}>
          {`${t('cmd.reload')} (${keysOf('reload')})`}
        </button>
      }
    >
      <div className="models">
        <h3>{t('models.box')}</h3>
        <p>{t('models.boxDraws')}</p>
        <p className="muted">{t('models.boxSuch')}</p>
        <h3>{t('models.add')}</h3>
        <ol>
          <li>{t('models.addGet')}</li>
          <li>{t('models.addPut')}</li>
          <li>{t('models.addRead')}</li>
        </ol>
      </div>
    </Dialog>
  )
}
