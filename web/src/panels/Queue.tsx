import { useEffect, useMemo, useRef, useState } from 'react'
import { api, type Job } from '../api/client'
import { hintOf } from '../app/commands'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { useRun } from '../state/run'
import { useSettings } from '../state/settings'
import { setView } from '../state/view'
import { JobRow } from './JobRow'
import { cancelJob, clearWaiting, forgetJob, isListed, moveJob, togglePause } from './queueActions'
import { WorkersList } from './WorkersList'

const PAGE = 200
const DONE = ['completed', 'failed', 'cancelled'] as const
const isDone = (job: Job): boolean => job.status !== 'in_progress' && job.status !== 'pending'

/** Running, waiting in the order in which they will run, and done: one plain list, of which a key reaches every row. */
export function Queue() {
  const t = useT()
  const jobs = useRun((state) => state.jobs)
  const waiting = useRun((state) => state.waiting)
  const paused = useRun((state) => state.paused)
  const [text, setText] = useState('')
  const [status, setStatus] = useState('')
  const [limit, setLimit] = useState(PAGE)
  const found = useFound(text.trim(), status, limit, jobs)
  const running = jobs.filter((job) => job.status === 'in_progress')
  const pending = useMemo(() => waiting.flatMap((id) => jobs.find((job) => job.id === id) ?? []), [waiting, jobs])
  const box = useRef<HTMLDivElement>(null)
  const held = useHeldFocus(box, pending)
  return (
    <>
      <div className="search-line">
        <input type="search" aria-label={t('side.search')} placeholder={t('side.search')} value={text} onChange={(event) => setText(event.target.value)} />
        <select aria-label={t('side.state')} value={status} onChange={(event) => setStatus(event.target.value)}>
          <option value="">{t('side.all')}</option>
          {DONE.map((each) => (
            <option key={each} value={each}>
              {t(`side.${each}`)}
            </option>
          ))}
        </select>
      </div>
      <div className="list" ref={box} onKeyDown={walk}>
        <h3>
          {t('side.waiting')}
          {pending.length > 0 && <span className="count">{pending.length}</span>}
          <span className="bar-gap" />
          {pending.length > 0 && (
            <button type="button" className="button bare" title={hintOf(t('side.clearAll'), 'clearQueue')} onClick={clearWaiting}>
              {t('side.clearAll')}
            </button>
          )}
          <button type="button" className={`button ${paused ? 'primary' : 'bare'}`} aria-pressed={paused} title={hintOf(t(paused ? 'side.resume' : 'side.pause'), 'pauseQueue')} onClick={togglePause}>
            <Icon name={paused ? 'play' : 'pause'} />
            {t(paused ? 'side.resume' : 'side.pause')}
          </button>
        </h3>
        {paused && <p className="quiet">{t('side.paused')}</p>}
        {!pending.length && !running.length && !paused && <p className="quiet">{t('side.nothingWaits')}</p>}
        <ul aria-label={t('side.running')}>
          {running.map((job) => (
            <JobRow key={job.id} job={job} onRemove={() => cancelJob(job.id)} removeTitle={t('side.cancel')} />
          ))}
        </ul>
        <ul aria-label={t('side.waiting')}>
          {pending.map((job, at) => (
            <JobRow key={job.id} job={job} place={at} of={pending.length} onMove={(to) => ((held.current = job.id), moveJob(job.id, to))} onRemove={() => cancelJob(job.id)} removeTitle={t('side.cancel')} />
          ))}
        </ul>
        <WorkersList />
        {(found.jobs.length > 0 || text || status) && (
          <h3>
            {t('side.history')}
            <span className="bar-gap" />
            {found.jobs.length > 0 && !text && !status && (
              <button type="button" className="button bare" onClick={() => setView({ dialog: 'clear' })}>
                {t('side.clearDone')}
              </button>
            )}
          </h3>
        )}
        {!found.jobs.length && (text || status) && <p className="quiet">{t('palette.none')}</p>}
        <ul aria-label={t('side.history')}>
          {found.jobs.map((job) => (
            <JobRow key={job.id} job={job} onRemove={() => forgetJob(job.id)} removeTitle={t('side.forget')} />
          ))}
        </ul>
        {found.more && (
          <button type="button" className="button more" onClick={() => setLimit(limit + PAGE)}>
            {t('side.more')}
          </button>
        )}
      </div>
    </>
  )
}

/** Jobs that have ended: the newest are known already, others are asked of the server. */
function useFound(text: string, status: string, limit: number, jobs: readonly Job[]): { jobs: readonly Job[]; more: boolean } {
  const [asked, setAsked] = useState<{ jobs: readonly Job[]; more: boolean } | null>(null)
  const isPlain = !text && !status && limit === PAGE
  const cleared = useSettings((state) => state.cleared)
  useEffect(() => {
    if (isPlain) return setAsked(null)
    let wanted = true
    const timer = setTimeout(
      () =>
        void api.jobs(limit, text, status || DONE.join()).then(
          (page) => wanted && setAsked(page),
          () => undefined, // the lost connection is shown already
        ),
      text ? 180 : 0,
    )
    return () => {
      wanted = false
      clearTimeout(timer)
    }
  }, [isPlain, text, status, limit, jobs])
  return useMemo(() => {
    const [found, more] = asked && !isPlain ? [asked.jobs, asked.more] : [jobs, jobs.length >= PAGE]
    // who searches looks for what there is, also off the list
    return { jobs: found.filter((job) => isDone(job) && (text !== '' || isListed(job, cleared))), more }
  }, [asked, isPlain, jobs, cleared, text])
}

/** A row that was moved keeps the focus, though the browser takes it off an element that moves. */
function useHeldFocus(box: React.RefObject<HTMLDivElement | null>, pending: readonly Job[]): React.RefObject<string | null> {
  const held = useRef<string | null>(null)
  useEffect(() => {
    if (held.current && document.activeElement === document.body) box.current?.querySelector<HTMLElement>(`[data-job="${CSS.escape(held.current)}"]`)?.focus()
  }, [box, pending])
  return held
}

/** Arrow keys go from row to row, Home and End to the ends of the list that the row is in. */
function walk(event: React.KeyboardEvent<HTMLDivElement>): void {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>('.job')]
  const at = rows.indexOf(event.target as HTMLElement)
  const own = [...((event.target as HTMLElement).closest('ul')?.querySelectorAll<HTMLElement>('.job') ?? [])]
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: rows.indexOf(own[0] as HTMLElement), End: rows.indexOf(own.at(-1) as HTMLElement) }[event.key]
  if (at < 0 || to === undefined) return
  event.preventDefault()
  rows[Math.max(0, Math.min(to, rows.length - 1))]?.focus()
}
