import { Icon } from '../app/Icon'
import { crisp } from '../app/pictures'
import { useT } from '../i18n'
import { setView } from '../state/view'
import { Dialog } from './Dialog'

/** One picture as large as the window. */
export function Viewer({ url }: { url: string }) {
  const t = useT()
  const close = (): void => setView({ shown: null })
  const name = new URL(url).searchParams.get('filename') ?? ''
  return (
    <Dialog title={t('side.open')} className="viewer" onClose={close} bare>
      <header>
        <span className="viewer-name">{name}</span>
        <a className="button" href={url} download={name}>
          {t('side.download')}
        </a>
        <button type="button" className="button" data-first onClick={close}>
          <Icon name="close" />
          {t('side.close')}
        </button>
      </header>
      <div className="frame-box" onClick={close}>
        <img src={url} alt={name} onLoad={crisp} />
      </div>
    </Dialog>
  )
}
