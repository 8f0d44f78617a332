import { useCallback, useEffect, useState } from 'react'
import { api, type Worker } from '../api/client'
import { wordsOf } from '../app/refusals'
import { useT } from '../i18n'
import { useRun } from '../state/run'
import { say, tell } from '../state/view'

const LOOK_SECONDS = 2

/** The workers of a server that has several: what each runs and holds, and which of them takes no more jobs. */
export function WorkersList() {
  const t = useT()
  const [workers, look] = useWorkers()
  if (!workers.length) return null
  const drain = (worker: Worker): void => {
    say(t(worker.draining ? 'workers.resumed' : 'workers.drainedNow', { id: worker.id }))
    api.drain(worker.id, !worker.draining).then(look, (error: unknown) => tell(wordsOf(error), 'error'))
  }
  return (
    <>
      <h3>{t('workers.title')}</h3>
      <ul aria-label={t('workers.title')}>
        {workers.map((worker) => (
          <WorkerRow key={worker.id} worker={worker} onDrain={() => drain(worker)} />
        ))}
      </ul>
    </>
  )
}

function WorkerRow({ worker, onDrain }: { readonly worker: Worker; readonly onDrain: () => void }) {
  const t = useT()
  const job = useRun((run) => run.jobs.find((each) => each.id === worker.job))
  const runs = worker.job && t('workers.runs', { job: job?.workflowName || job?.words || worker.job.slice(0, 8) })
  const state = [runs || t(`workers.${worker.state}`), worker.draining && worker.job && t('workers.thenNoMore'), worker.lost > 0 && t('workers.lost', { count: worker.lost })]
  const said = state.filter(Boolean).join(', ')
  const holds = worker.models.map(({ name, bytes }) => `${name} ${(bytes / 2 ** 30).toFixed(1)} GiB`).join(', ')
  return (
    <li className="worker" data-worker={worker.id}>
      <div className="job-text">
        <div className="job-name">{worker.id}</div>
        <div className="job-state" title={said}>
          {said}
        </div>
        {holds && (
          <div className="job-about" title={holds}>
            {holds}
          </div>
        )}
      </div>
      <button type="button" className={`button ${worker.draining ? 'primary' : 'bare'}`} aria-pressed={worker.draining} title={t('workers.drainHint')} aria-label={t(worker.draining ? 'workers.resumeIt' : 'workers.drainIt', { id: worker.id })} onClick={onDrain}>
        {t(worker.draining ? 'workers.resume' : 'workers.drain')}
      </button>
    </li>
  )
}

/** Asks again while it is looked at, as long as there are some. A server that runs jobs itself, or is of another kind, has none. */
function useWorkers(): [readonly Worker[], () => void] {
  const [workers, setWorkers] = useState<readonly Worker[]>([])
  const look = useCallback(() => {
    api.workers().then(
      (found) => setWorkers(found.some((worker) => worker.id !== 'here') ? found : []),
      () => undefined, // the lost connection is shown already
    )
  }, [])
  const connected = useRun((run) => run.connected)
  useEffect(() => {
    if (connected !== false) look()
  }, [connected, look])
  const hasSome = workers.length > 0
  useEffect(() => {
    if (!hasSome) return
    const timer = setInterval(() => !document.hidden && look(), 1000 * LOOK_SECONDS)
    return () => clearInterval(timer)
  }, [hasSome, look])
  return [workers, look]
}
