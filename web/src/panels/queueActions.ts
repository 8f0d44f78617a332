/** What is done to jobs: shown at once, and again as the server has it. */
import { api, viewUrl, type Job, type Picture } from '../api/client'
import { openText, openValue } from '../app/files'
import { wordsOf } from '../app/refusals'
import { t } from '../i18n'
import { readPicture } from '../io/pictures'
import { changeJobs, useRun } from '../state/run'
import { setSettings, useSettings } from '../state/settings'
import { say, tell } from '../state/view'

function act(call: Promise<unknown>, words: string): void {
  say(words)
  changeJobs(call).catch((error: unknown) => tell(wordsOf(error), 'error'))
}

/** Puts a waiting job at a place, counted from 0. */
export function moveJob(id: string, to: number): void {
  const rest = useRun.getState().waiting.filter((each) => each !== id)
  const place = Math.max(0, Math.min(to, rest.length))
  useRun.setState({ waiting: [...rest.slice(0, place), id, ...rest.slice(place)] })
  act(api.move(id, place), t('side.moved', { place: place + 1 }))
}

export function cancelJob(id: string): void {
  useRun.setState((state) => ({ waiting: state.waiting.filter((each) => each !== id) }))
  act(api.cancel(id), t('side.cancelled'))
}

export function clearWaiting(): void {
  useRun.setState({ waiting: [] })
  act(api.clearQueue(), t('side.cleared'))
}

export function togglePause(): void {
  const paused = !useRun.getState().paused
  useRun.setState({ paused })
  act(api.pause(paused), t(paused ? 'side.paused' : 'side.goesOn'))
}

/** Runs a job that failed or was stopped once more, at the end of the queue. */
export const retryJob = (id: string): void => act(api.retry(id), t('side.retried'))

const MOST_FORGOTTEN = 2000

/** Whether a job that has ended is on the list still. */
export const isListed = (job: Job, { before, ids }: { readonly before: number; readonly ids: readonly string[] }): boolean => (job.finished || job.created) > before && !ids.includes(job.id)

/** Takes a job off the list. Its pictures stay in the gallery, and the server keeps its record. */
export function forgetJob(id: string): void {
  const { cleared } = useSettings.getState()
  setSettings({ cleared: { ...cleared, ids: [...cleared.ids.slice(1 - MOST_FORGOTTEN), id] } })
  say(t('side.forgotten'))
}

export function clearDone(): void {
  const ended = useRun.getState().jobs.map((job) => job.finished)
  setSettings({ cleared: { before: Math.max(0, ...ended), ids: [] } })
  say(t('side.forgotten'))
}

/** Deletes the records of all jobs that have ended, for everybody. The files of their pictures stay on the server. */
export function deleteRecords(): void {
  useRun.setState((state) => ({ jobs: state.jobs.filter((job) => job.status === 'pending' || job.status === 'in_progress') }))
  act(api.clearHistory(), t('side.forgotten'))
}

/** Opens the workflow that a picture carries: of a sweep's, the plain one of its cell. */
export async function openPicture(picture: Picture): Promise<void> {
  try {
    const carried = await readPicture(new Uint8Array(await (await fetch(viewUrl(picture))).arrayBuffer()))
    const text = carried.workflow ?? carried.prompt
    const name = picture.filename.replace(/\.\w+$/, '')
    if (text === undefined) tell(t('say.notWorkflow', { name }), 'error')
    else openText(text, name)
  } catch (error) {
    tell(wordsOf(error), 'error')
  }
}

/** Opens the workflow that a job has run, in a tab of its own. */
export async function openJob(job: Pick<Job, 'id' | 'picture'>): Promise<void> {
  const record = await api.job(job.id)
  const held = record?.workflow ?? record?.prompt
  if (held) openValue(held, job.picture?.filename.replace(/\.\w+$/, '') ?? job.id.slice(0, 8))
}
