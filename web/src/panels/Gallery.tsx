import { useMemo, useState } from 'react'
import { api, viewUrl, type Picture } from '../api/client'
import { addPicture, openValue } from '../app/files'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { useRun } from '../state/run'
import { setView } from '../state/view'

interface Shot {
  readonly prompt: string
  readonly picture: Picture
}

const crisp = (event: { currentTarget: HTMLImageElement }): void => void event.currentTarget.classList.toggle('small-picture', event.currentTarget.naturalWidth < 96)

/** The newest picture large, live while it is drawn; all earlier ones below. */
export function Gallery() {
  const t = useT()
  const jobs = useRun((state) => state.jobs)
  const latest = useRun((state) => state.latest)
  const current = useRun((state) => state.current)
  const [picked, setPicked] = useState<string | null>(null)
  const [revealed, setRevealed] = useState<string | null>(null)
  const shots = useMemo(() => {
    const found: Shot[] = jobs.flatMap((job) => (job.picture ? [{ prompt: job.id, picture: job.picture }] : []))
    return latest && !found.some((shot) => shot.prompt === latest.prompt) ? [latest, ...found] : found
  }, [jobs, latest])
  const shot = shots.find((each) => each.prompt === picked) ?? shots[0]
  const live = current?.preview ?? null
  const hidden = shot !== undefined && shot.picture.flagged === true && revealed !== shot.prompt
  const url = shot ? viewUrl(shot.picture) : null
  return (
    <>
      <div className="stage">
        {live && !picked ? <img src={live} alt={t('side.drawing')} /> : null}
        {url && shot && (!live || picked) ? (
          <button type="button" aria-label={t('side.open')} onClick={() => !hidden && setView({ shown: url })}>
            <img className={hidden ? 'blurred' : ''} src={url} alt={shot.picture.filename} onLoad={crisp} />
          </button>
        ) : null}
        {hidden && !live && (
          <div className="veil">
            {t('side.flagged')}
            {shot.picture.score !== undefined && <small>{t('side.score', { score: shot.picture.score.toFixed(3) })}</small>}
            <button type="button" className="button" onClick={() => setRevealed(shot.prompt)}>
              {t('side.show')}
            </button>
          </div>
        )}
        {!url && !live && (
          <div className="nothing">
            <b>{current ? t('side.drawing') : t('side.noPictures')}</b>
            {!current && t('side.noPicturesHint')}
          </div>
        )}
        {current && <Drawing />}
      </div>
      <div className="stage-actions">
        {shot && url && (
          <>
            <button type="button" className="button" onClick={() => void openJob(shot)}>
              {t('side.openWorkflow')}
            </button>
            <button type="button" className="button" onClick={() => void asInput(shot.picture)}>
              {t('side.useAsInput')}
            </button>
            <a className="button square" href={url} download={shot.picture.filename} aria-label={t('side.download')} title={t('side.download')}>
              <Icon name="download" />
            </a>
          </>
        )}
      </div>
      <div className="thumbs">
        {shots.map((each, at) => (
          <button key={each.prompt} type="button" className="thumb" aria-pressed={shot?.prompt === each.prompt} aria-label={each.picture.filename} title={each.picture.filename} onClick={() => setPicked(at === 0 ? null : each.prompt)} onDoubleClick={() => setView({ shown: viewUrl(each.picture) })}>
            <img className={each.picture.flagged ? 'blurred' : ''} src={viewUrl(each.picture)} alt="" loading="lazy" onLoad={crisp} />
          </button>
        ))}
      </div>
    </>
  )
}

function Drawing() {
  const t = useT()
  const percent = useRun((state) => {
    const run = state.current?.node ? state.nodes[state.current.doc]?.[state.current.node] : undefined
    return run && run.max > 1 ? Math.round((100 * run.value) / run.max) : null
  })
  return <span className="drawing">{percent === null ? t('side.drawing') : t('run.percent', { percent })}</span>
}

async function openJob(shot: Shot): Promise<void> {
  const record = await api.job(shot.prompt)
  const held = record?.workflow ?? record?.prompt
  if (held) openValue(held, shot.picture.filename.replace(/\.\w+$/, ''))
}

async function asInput(picture: Picture): Promise<void> {
  const blob = await (await fetch(viewUrl(picture))).blob()
  await addPicture(new File([blob], picture.filename, { type: blob.type }), null)
}
