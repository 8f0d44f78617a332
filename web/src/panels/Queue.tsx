import { useMemo, useState } from 'react'
import { api, viewUrl, type Job } from '../api/client'
import { Icon, type IconName } from '../app/Icon'
import { openValue } from '../app/files'
import { seconds, useT } from '../i18n'
import { ownerOf, refreshJobs, useRun } from '../state/run'
import { useDocuments } from '../state/documents'
import { setView, tell } from '../state/view'

const act = (call: Promise<unknown>): void => void call.then(refreshJobs, (error: unknown) => tell(error instanceof Error ? error.message : '', 'error'))

/** Running, waiting in the order in which they will run, and done: a plain list. */
export function Queue() {
  const t = useT()
  const jobs = useRun((state) => state.jobs)
  const waiting = useRun((state) => state.waiting)
  const paused = useRun((state) => state.paused)
  const [query, setQuery] = useState('')
  const running = jobs.filter((job) => job.status === 'in_progress')
  const pending = useMemo(() => waiting.flatMap((id) => jobs.find((job) => job.id === id) ?? []), [waiting, jobs])
  const done = jobs.filter((job) => job.status !== 'in_progress' && job.status !== 'pending' && matches(job, query, t(`side.${job.status === 'completed' ? 'completed' : job.status === 'failed' ? 'failed' : 'cancelled'}`)))
  return (
    <>
      <div className="search-line">
        <input type="search" aria-label={t('side.search')} placeholder={t('side.search')} value={query} onChange={(event) => setQuery(event.target.value)} />
        <button type="button" className="button" aria-pressed={paused} onClick={() => act(api.pause(!paused))}>
          {t(paused ? 'side.resume' : 'side.pause')}
        </button>
      </div>
      <div className="list">
        {paused && <p className="quiet">{t('side.paused')}</p>}
        {running.length > 0 && (
          <>
            <h3>{t('side.running')}</h3>
            {running.map((job) => (
              <Row key={job.id} job={job} state={t('side.running')} actions={[['close', t('side.cancel'), () => act(api.cancel(job.id))]]} />
            ))}
          </>
        )}
        <h3>
          {t('side.waiting')}
          {pending.length > 0 && (
            <button type="button" className="button" onClick={() => act(api.clearQueue())}>
              {t('side.clearAll')}
            </button>
          )}
        </h3>
        {!pending.length && <p className="quiet">{t('side.nothingWaits')}</p>}
        {pending.map((job, at) => (
          <Row
            key={job.id}
            job={job}
            state={String(at + 1)}
            onMove={(by) => act(api.move(job.id, Math.max(0, at + by)))}
            actions={[
              ...(at > 0 ? [['top', t('side.first'), () => act(api.move(job.id, 0))] as const] : []),
              ['close', t('side.cancel'), () => act(api.cancel(job.id))],
            ]}
          />
        ))}
        {done.length > 0 && (
          <h3>
            {t('side.history')}
            <button type="button" className="button" onClick={() => act(api.clearHistory())}>
              {t('side.clearDone')}
            </button>
          </h3>
        )}
        {done.map((job) => (
          <Row key={job.id} job={job} state={stateOf(job, t)} actions={[['folder', t('side.openWorkflow'), () => void reopen(job)], ['close', t('side.close'), () => act(api.forget(job.id))]]} />
        ))}
      </div>
    </>
  )
}

type Text = ReturnType<typeof useT>

function stateOf(job: Job, t: Text): string {
  const took = job.finished && job.started ? (job.finished - job.started) / 1000 : 0
  if (job.status === 'failed') return job.error ? `${t('side.failed')}: ${job.error}` : t('side.failed')
  if (job.status === 'cancelled') return t('side.cancelled')
  return `${t('side.completed')} · ${t('side.took', { seconds: seconds(took) })}`
}

const matches = (job: Job, query: string, state: string): boolean => !query || `${job.id} ${state} ${job.picture?.filename ?? ''} ${job.error}`.toLowerCase().includes(query.toLowerCase())

interface RowProps {
  readonly job: Job
  readonly state: string
  readonly actions: readonly (readonly [IconName, string, () => void])[]
  readonly onMove?: (by: number) => void
}

function Row({ job, state, actions, onMove }: RowProps) {
  const t = useT()
  const owner = ownerOf(job.id)
  const name = useDocuments((documents) => documents.tabs.find((tab) => tab.id === owner)?.name)
  const percent = useRun((run) => {
    const at = run.current?.prompt === job.id && run.current.node ? run.nodes[run.current.doc]?.[run.current.node] : undefined
    return at && at.max > 1 ? (100 * at.value) / at.max : null
  })
  const time = new Date(job.created).toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false })
  return (
    <div
      className="job"
      onKeyDown={(event) => {
        if (!onMove || !event.altKey || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return
        event.preventDefault()
        onMove(event.key === 'ArrowUp' ? -1 : 1)
      }}
    >
      <button type="button" className="job-picture" aria-label={t('side.open')} disabled={!job.picture} onClick={() => job.picture && setView({ shown: viewUrl(job.picture) })}>
        {job.picture ? <img src={viewUrl(job.picture)} alt="" loading="lazy" /> : null}
      </button>
      <div style={{ minWidth: 0 }}>
        <div className="job-name">{name ? `${name} · ${time}` : time}</div>
        <div className={`job-state ${job.status}`} title={state}>
          {state}
        </div>
        {percent !== null && (
          <div className="job-bar">
            <i style={{ width: `${percent}%` }} />
          </div>
        )}
      </div>
      <div className="job-actions">
        {actions.map(([icon, label, run]) => (
          <button key={label} type="button" className="button bare" aria-label={label} title={label} onClick={run}>
            <Icon name={icon} />
          </button>
        ))}
      </div>
    </div>
  )
}

async function reopen(job: Job): Promise<void> {
  const record = await api.job(job.id)
  const held = record?.workflow ?? record?.prompt
  if (held) openValue(held, job.picture?.filename.replace(/\.\w+$/, '') ?? job.id.slice(0, 8))
}
