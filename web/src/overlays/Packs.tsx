import { useEffect } from 'react'
import { decide, loadPacks, usePacks } from '../app/packs'
import { useT } from '../i18n'
import type { Decision, Pack } from '../api/client'
import { Dialog } from './Dialog'

/** The packs of nodes: what their owner has said of each, what is wrong with it and what to install. */
export function Packs({ onClose }: { onClose: () => void }) {
  const t = useT()
  const packs = usePacks((state) => state.packs)
  useEffect(() => void loadPacks(), [])
  const done = (
    <button type="button" className="button primary" data-first onClick={onClose}>
      {t('packs.done')}
    </button>
  )
  return (
    <Dialog title={t('packs.title')} onClose={onClose} actions={done}>
      <div className="packs">
        <p className="muted">{t(packs.length ? 'packs.hint' : 'packs.none')}</p>
        {packs.map((pack) => (
          <Row key={pack.name} pack={pack} />
        ))}
      </div>
    </Dialog>
  )
}

function Row({ pack }: { pack: Pack }) {
  const t = useT()
  const waits = pack.standing === 'unknown' || pack.standing === 'changed'
  const choices = (['allow', 'isolate', 'disable'] as const).filter((each) => waits || each !== said(pack))
  return (
    <section className={`pack ${waits ? 'warning' : ''}`} aria-label={pack.name}>
      <b>{pack.name}</b>
      <span className="muted">{waits ? t(`packs.${pack.standing}`) : t(`packs.is.${said(pack)}`, { count: pack.nodes })}</span>
      {pack.problem && !waits && pack.standing !== 'disabled' && <p className="wrong">{pack.problem}</p>}
      {pack.needs.length > 0 && <p className="wrong">{t('packs.needs', { what: pack.needs.join('; ') })}</p>}
      <div className="pack-choice">
        {choices.map((each) => (
          <button key={each} type="button" className="button" title={t(`packs.${each}Hint`)} onClick={() => void decide(pack.name, each)}>
            {t(`packs.${each}`)}
          </button>
        ))}
      </div>
    </section>
  )
}

const said = (pack: Pack): Decision => (pack.standing === 'disabled' ? 'disable' : pack.isolated ? 'isolate' : 'allow')
