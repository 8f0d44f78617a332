import { useState, type KeyboardEvent } from 'react'
import { viewUrl, type JobRecord, type Picture } from '../api/client'
import { addPicture } from '../app/files'
import { Icon } from '../app/Icon'
import { crisp } from '../app/pictures'
import { about, t, useT } from '../i18n'
import { useRun } from '../state/run'
import { setView, tell } from '../state/view'
import { openJob, openPicture } from './queueActions'
import { SweepGrid } from './SweepGrid'
import { keepSeeds, picturesIn, seedsIn, useRecord, useShots, type Shot } from './shots'

/** The newest picture large, live while it is drawn; all earlier ones below. */
export function Gallery() {
  const t = useT()
  const current = useRun((state) => state.current)
  const shots = useShots()
  const [picked, setPicked] = useState<string | null>(null)
  const [nth, setNth] = useState(0)
  const at = Math.max(0, shots.findIndex((each) => each.prompt === picked))
  const shot = shots[at]
  const record = useRecord(shot?.prompt)
  const all = picturesIn(record)
  const picture = all[nth] ?? shot?.picture
  const live = current?.preview ?? null
  const isLive = live !== null && !picked
  const pick = (place: number): void => {
    const next = shots[Math.max(0, Math.min(place, shots.length - 1))]
    setPicked(next && next !== shots[0] ? next.prompt : null)
    setNth(0)
  }
  return (
    <>
      <div className="stage">
        {isLive && <img src={live} alt={t('side.drawing')} />}
        {picture && !isLive && (
          <button type="button" aria-label={t('side.open')} onClick={() => setView({ shown: viewUrl(picture) })}>
            <img src={viewUrl(picture)} alt={picture.filename} onLoad={crisp} />
          </button>
        )}
        {!isLive && <Judged record={record} />}
        {!picture && !isLive && (
          <div className="nothing">
            <b>{current ? t('side.drawing') : t('side.noPictures')}</b>
            {!current && t('side.noPicturesHint')}
          </div>
        )}
        {all.length > 1 && !isLive && !record?.axes.length && <Pager at={nth} of={all.length} go={setNth} />}
        {current && (picture || isLive) && <Drawing />}
      </div>
      {record && record.axes.length > 0 && !isLive && <SweepGrid record={record} pictures={all} shown={picture} pick={setNth} />}
      {shot && picture && !isLive && <About picture={picture} record={record} />}
      {shot && picture && <Actions shot={shot} picture={picture} record={record} other={shots[at + 1] ?? shots[at - 1]} />}
      <div className="thumbs" role="group" aria-label={t('side.gallery')} onKeyDown={(event) => walk(event, at, pick)}>
        {shots.map((each, place) => (
          <button key={each.prompt} type="button" className="thumb" tabIndex={place === at ? 0 : -1} aria-pressed={place === at} aria-label={each.picture.filename} title={each.picture.filename} onClick={() => pick(place)} onDoubleClick={() => setView({ shown: viewUrl(each.picture) })}>
            <img src={viewUrl(each.picture)} alt="" loading="lazy" onLoad={crisp} />
            {each.count > 1 && <span className="thumb-count">{each.count}</span>}
          </button>
        ))}
      </div>
    </>
  )
}

/** One Tab stop for all thumbnails; the arrow keys go among them. */
function walk(event: KeyboardEvent<HTMLDivElement>, at: number, pick: (place: number) => void): void {
  const columns = getComputedStyle(event.currentTarget).gridTemplateColumns.split(' ').length
  const last = event.currentTarget.children.length - 1
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: last }[event.key]
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return
  event.preventDefault()
  const place = Math.max(0, Math.min(to, last))
  pick(place)
  ;(event.currentTarget.children[place] as HTMLElement).focus()
}

/** What the safety check of the run said of what it hid. */
function Judged({ record }: { record: JobRecord | null }) {
  const t = useT()
  const verdict = [...(record?.verdicts.values() ?? [])].find((each) => each.hidden > 0)
  if (!verdict) return null
  return (
    <span className="judged">
      <Icon name="warn" />
      {t('side.flagged')}
      {verdict.highest !== null && ` · ${t('side.score', { score: verdict.highest.toFixed(1) })}`}
    </span>
  )
}

function Pager({ at, of, go }: { at: number; of: number; go: (at: number) => void }) {
  const t = useT()
  return (
    <div className="pager">
      <button type="button" className="button bare" aria-label={t('side.before')} disabled={at === 0} onClick={() => go(at - 1)}>
        <Icon name="left" />
      </button>
      <output>{`${at + 1} / ${of}`}</output>
      <button type="button" className="button bare" aria-label={t('side.after')} disabled={at >= of - 1} onClick={() => go(at + 1)}>
        <Icon name="right" />
      </button>
    </div>
  )
}

function About({ picture, record }: { picture: Picture; record: JobRecord | null }) {
  const t = useT()
  const seed = seedsIn(record, picture)[0]
  return (
    <p className="about-shot">
      <span title={picture.filename}>{picture.filename}</span>
      {seed && (
        <button type="button" className="seed" title={t('side.copySeed')} aria-label={about(t('side.copySeed'), String(seed.value))} onClick={() => copySeed(String(seed.value))}>
          {t('side.seed', { seed: String(seed.value) })}
          <Icon name="copy" />
        </button>
      )}
    </p>
  )
}

function Actions({ shot, picture, record, other }: { shot: Shot; picture: Picture; record: JobRecord | null; other: Shot | undefined }) {
  const t = useT()
  return (
    <div className="stage-actions">
      <button type="button" className="button" onClick={() => void (picture.cell ? openPicture(picture) : openJob({ id: shot.prompt, picture }))}>
        {t('side.openWorkflow')}
      </button>
      <button type="button" className="button" onClick={() => void asInput(picture)}>
        {t('side.useAsInput')}
      </button>
      <button type="button" className="button" disabled={!seedsIn(record, picture).length} title={t('side.keepSeedHint')} onClick={() => record && keepSeeds(record, picture)}>
        {t('side.keepSeed')}
      </button>
      <span className="pair">
        <button type="button" className="button" disabled={!other} title={t('side.compareHint')} onClick={() => other && setView({ compare: [other.picture, picture] })}>
          {t('side.compare')}
        </button>
        <a className="button square" href={viewUrl(picture)} download={picture.filename} aria-label={t('side.download')} title={t('side.download')}>
          <Icon name="download" />
        </a>
      </span>
    </div>
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

function copySeed(seed: string): void {
  navigator.clipboard?.writeText(seed).then(
    () => tell(t('say.seedCopied', { seed })),
    () => tell(t('say.notCopied'), 'error'),
  )
}

async function asInput(picture: Picture): Promise<void> {
  const blob = await (await fetch(viewUrl(picture))).blob()
  await addPicture(new File([blob], picture.filename, { type: blob.type }), null)
}
