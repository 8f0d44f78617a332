import { memo, useState, type DragEvent, type KeyboardEvent } from 'react'
import { viewUrl, type Job } from '../api/client'
import { Icon, type IconName } from '../app/Icon'
import { crisp } from '../app/pictures'
import { about, seconds, said, useT } from '../i18n'
import { useDocuments } from '../state/documents'
import { ownerOf, useRun } from '../state/run'
import { setView } from '../state/view'
import { JobDetails } from './JobDetails'
import { moveJob, openJob, retryJob } from './queueActions'

interface Props {
  readonly job: Job
  /** Where it stands among those that wait, and how many those are. */
  readonly place?: number
  readonly of?: number
  readonly onMove?: (to: number) => void
  readonly onRemove: () => void
  readonly removeTitle: string
}

type Text = ReturnType<typeof useT>
const CARRIED = 'application/x-darkroom-job'

/** One job. Enter shows what its nodes cost, Delete takes it away, Alt and an arrow key move it. */
export const JobRow = memo(Row, (before, after) => before.job === after.job && before.place === after.place && before.of === after.of && before.removeTitle === after.removeTitle)

function Row({ job, place, of, onMove, onRemove, removeTitle }: Props) {
  const t = useT()
  const [open, setOpen] = useState(false)
  const [over, setOver] = useState('')
  const name = useJobName(job)
  const percent = useRun((run) => {
    const at = run.current?.prompt === job.id && run.current.node ? run.nodes[run.current.doc]?.[run.current.node] : undefined
    return at && at.max > 1 ? (100 * at.value) / at.max : null
  })
  const state = stateOf(job, t, place)
  const about = [job.workflowName !== name && job.workflowName, job.seed && t('side.seed', { seed: job.seed }), job.program && t('side.program', { program: job.program })].filter(Boolean).join(' · ')
  const press = (event: KeyboardEvent<HTMLElement>): void => {
    if (event.target !== event.currentTarget) return
    const to = event.altKey && place !== undefined ? { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: of }[event.key] : undefined
    if (to !== undefined) onMove?.(to)
    else if (event.key === 'Delete' && !event.shiftKey && !event.ctrlKey) remove(event.currentTarget, onRemove)
    else if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey) setOpen(!open)
    else return
    event.preventDefault()
  }
  const drag = {
    draggable: place !== undefined,
    onDragStart: (event: DragEvent) => {
      event.dataTransfer.setData(CARRIED, job.id)
      event.dataTransfer.setData('text/plain', String(place))
      event.dataTransfer.effectAllowed = 'move'
    },
    onDragOver: (event: DragEvent) => {
      if (place === undefined || !event.dataTransfer.types.includes(CARRIED)) return
      event.preventDefault()
      const box = event.currentTarget.getBoundingClientRect()
      setOver(event.clientY < box.top + box.height / 2 ? 'above' : 'below')
    },
    onDragLeave: () => setOver(''),
  }
  return (
    <li className={`job-item ${over}`} {...drag} onDrop={(event) => (event.preventDefault(), setOver(''), drop(event, job.id))}>
      <div className="job" role="group" tabIndex={0} data-job={job.id} aria-label={[name, about, state].filter(Boolean).join(', ')} title={name} onKeyDown={press}>
        <button type="button" className="job-picture" aria-label={t('side.open')} tabIndex={-1} disabled={!job.picture} onClick={() => job.picture && setView({ shown: viewUrl(job.picture) })}>
          {job.picture ? <img src={viewUrl(job.picture)} alt="" loading="lazy" onLoad={crisp} /> : <Icon name={job.status === 'failed' ? 'warn' : 'image'} />}
        </button>
        <div className="job-text">
          <div className="job-name">{name}</div>
          {about && <div className="job-about">{about}</div>}
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
          {place !== undefined && place > 0 && <Act icon="top" title={t('side.first')} run={() => onMove?.(0)} />}
          {(job.status === 'failed' || job.status === 'cancelled') && <Act icon="again" title={t('side.retry')} run={() => retryJob(job.id)} />}
          <Act icon="folder" title={t('side.openWorkflow')} run={() => void openJob(job)} />
          {job.status !== 'pending' && <Act icon={open ? 'up' : 'down'} title={t('side.details')} on={open} run={() => setOpen(!open)} />}
          <Act icon="close" title={removeTitle} run={onRemove} />
        </div>
      </div>
      {open && job.status !== 'pending' && <JobDetails job={job} />}
    </li>
  )
}

function Act({ icon, title, on, run }: { icon: IconName; title: string; on?: boolean; run: () => void }) {
  return (
    <button type="button" className="button bare" aria-label={title} title={title} aria-expanded={on} onClick={run}>
      <Icon name={icon} />
    </button>
  )
}

/** The row goes; the focus goes on to the next one. */
function remove(row: HTMLElement, run: () => void): void {
  const rows = [...document.querySelectorAll<HTMLElement>('.list .job')]
  const at = rows.indexOf(row)
  const next = rows[at + 1] ?? rows[at - 1] ?? document.querySelector<HTMLElement>('.search-line input')
  next?.focus()
  run()
}

/** Dragged jobs land before or behind the row that they are let go of. */
function drop(event: DragEvent<HTMLElement>, onto: string): void {
  const id = event.dataTransfer.getData(CARRIED)
  if (!id || id === onto) return
  const order = useRun.getState().waiting.filter((each) => each !== id)
  const box = event.currentTarget.getBoundingClientRect()
  const at = order.indexOf(onto) + (event.clientY < box.top + box.height / 2 ? 0 : 1)
  if (order.includes(onto)) moveJob(id, at)
}

function useJobName(job: Job): string {
  const owner = ownerOf(job.id)
  const name = useDocuments((documents) => documents.tabs.find((tab) => tab.id === owner)?.name)
  const t = useT()
  return job.words || job.workflowName || (name ?? job.picture?.filename.replace(/_*\d*_*\.\w+$/, '') ?? t('side.job', { id: job.id.slice(0, 8) }))
}

function stateOf(job: Job, t: Text, place: number | undefined): string {
  const lang = document.documentElement.lang
  const made = new Date(job.created)
  const clock = made.toLocaleTimeString(lang, { hour: '2-digit', minute: '2-digit', hour12: false })
  const when = made.toDateString() === new Date().toDateString() ? clock : `${made.toLocaleDateString(lang, { day: 'numeric', month: 'short' })} ${clock}`
  const took = job.finished && job.started ? (job.finished - job.started) / 1000 : 0
  if (job.status === 'in_progress') return t('side.runsSince', { when })
  if (job.status === 'pending') return `${t('side.nth', { place: (place ?? 0) + 1 })} · ${when}`
  if (job.status === 'failed') return job.error ? about(t('side.failed'), said(job.error)) : t('side.failed')
  if (job.status === 'cancelled') return `${t('side.cancelled')} · ${when}`
  return `${t('side.took', { seconds: seconds(took) })} · ${when}${job.count > 1 ? ` · ${t('side.pictures', { count: job.count })}` : ''}`
}
