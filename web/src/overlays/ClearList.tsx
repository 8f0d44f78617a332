import { useT } from '../i18n'
import { clearDone, deleteRecords } from '../panels/queueActions'
import { Dialog } from './Dialog'

/** Before the list of done jobs is cleared: what goes, and what stays. */
export function ClearList({ onClose }: { onClose: () => void }) {
  const t = useT()
  return (
    <Dialog
      title={t('clear.title')}
      onClose={onClose}
      actions={
        <>
          <button type="button" className="button left" title={t('clear.recordsHint')} onClick={() => (onClose(), deleteRecords())}>
            {t('clear.records')}
          </button>
          <button type="button" className="button" onClick={onClose}>
            {t('close.cancel')}
          </button>
          <button type="button" className="button primary" data-first onClick={() => (onClose(), clearDone())}>
            {t('side.clearDone')}
          </button>
        </>
      }
    >
      <p className="muted">{t('clear.hint')}</p>
      <p className="muted">{t('clear.recordsHint')}</p>
    </Dialog>
  )
}
