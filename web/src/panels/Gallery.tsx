import { useEffect, useMemo, useState } from 'react'
import { api, viewUrl, type Picture, type Verdict } from '../api/client'
import { addPicture, openValue } from '../app/files'
import { Icon } from '../app/Icon'
import { crisp } from '../app/pictures'
import { useT } from '../i18n'
import { useRun } from '../state/run'
import { setView } from '../state/view'

interface Shot {
  readonly prompt: string
  readonly picture: Picture
}

/** The newest picture large, live while it is drawn; all earlier ones below. */
export function Gallery() {
  const t = useT()
  const jobs = useRun((state) => state.jobs)
  const latest = useRun((state) => state.latest)
  const current = useRun((state) => state.current)
  const [picked, setPicked] = useState<string | null>(null)
  const shots = useMemo(() => {
    const found: Shot[] = jobs.flatMap((job) => (job.picture ? [{ prompt: job.id, picture: job.picture }] : []))
    const all = latest && !found.some((shot) => shot.prompt === latest.prompt) ? [latest, ...found] : found
    const seen = new Set<string>() // a run that was cached shows the picture of the one before
    return all.filter((shot) => {
      const url = viewUrl(shot.picture)
      return seen.has(url) ? false : seen.add(url)
    })
  }, [jobs, latest])
  const shot = shots.find((each) => each.prompt === picked) ?? shots[0]
  const live = current?.preview ?? null
  const verdict = useVerdict(shot?.prompt)
  const url = shot ? viewUrl(shot.picture) : null
  return (
    <>
      <div className="stage">
        {live && !picked ? <img src={live} alt={t('side.drawing')} /> : null}
        {url && shot && (!live || picked) ? (
          <button type="button" aria-label={t('side.open')} onClick={() => setView({ shown: url })}>
            <img src={url} alt={shot.picture.filename} onLoad={crisp} />
          </button>
        ) : null}
        {verdict && verdict.hidden > 0 && !live && (
          <span className="judged">
            {t('side.flagged')}
            {verdict.highest !== null && ` · ${t('side.score', { score: verdict.highest.toFixed(1) })}`}
          </span>
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
            <img src={viewUrl(each.picture)} alt="" loading="lazy" onLoad={crisp} />
          </button>
        ))}
      </div>
    </>
  )
}

/** What the safety check of a run said, asked of the server. */
function useVerdict(prompt: string | undefined): Verdict | null {
  const [verdict, setVerdict] = useState<Verdict | null>(null)
  useEffect(() => {
    setVerdict(null)
    if (prompt === undefined) return
    let wanted = true
    api.job(prompt).then(
      (record) => {
        const all = [...(record?.verdicts.values() ?? [])]
        if (wanted) setVerdict(all.find((each) => each.hidden > 0) ?? null)
      },
      () => undefined, // without an answer nothing is claimed
    )
    return () => {
      wanted = false
    }
  }, [prompt])
  return verdict
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
