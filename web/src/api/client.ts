/** The calls to the server. Everything goes through its public API, relative to where the page lies. */
import { axesIn, both, picturesOf, readExplained, readJob, readSuggestion, readWorker, textsOf, verdictOf, warningsIn, type Example, type Explained, type Job, type JobRecord, type NodeTiming, type Picture, type Suggestion, type Verdict, type Worker } from './records'
import { isArray, isObject, parseJson, toNumber, toText, writeJson, type Json, type JsonObject } from '../io/json'

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly body: Json,
    message: string,
  ) {
    super(message)
  }
}

export const urlOf = (path: string): string => new URL(`api/${path}`, document.baseURI).href

async function call(path: string, init?: RequestInit): Promise<Json> {
  const answer = await fetch(urlOf(path), init)
  const text = await answer.text()
  let body: Json = null
  try {
    body = text ? parseJson(text) : null
  } catch {
    body = text
  }
  if (!answer.ok) throw new Refused(answer.status, body, messageOf(body) || `${answer.status} ${answer.statusText}`)
  return body
}

function messageOf(body: Json): string {
  if (!isObject(body)) return ''
  return isObject(body.error) ? toText(body.error.message) : toText(body.error) || toText(body.message)
}

const post = (path: string, body: Json): Promise<Json> => call(path, { method: 'POST', body: writeJson(body), headers: { 'Content-Type': 'application/json' } })

export * from './records'

export function viewUrl(picture: Picture, small = false): string {
  const query = new URLSearchParams({ filename: picture.filename, subfolder: picture.subfolder, type: picture.type })
  if (small) query.set('preview', 'webp;80')
  return urlOf(`view?${query}`)
}

/** What was uploaded, as the fields of nodes name it. */
function stored(answer: Json): string {
  if (!isObject(answer)) return ''
  const folder = toText(answer.subfolder)
  return folder ? `${folder}/${toText(answer.name)}` : toText(answer.name)
}

/** What the owner of the server says of a pack: load it, in the program or in a process of its own, or do not. */
export type Decision = 'allow' | 'isolate' | 'disable'

export interface Pack {
  readonly name: string
  readonly standing: 'allowed' | 'disabled' | 'unknown' | 'changed'
  readonly isolated: boolean
  readonly problem: string
  readonly needs: readonly string[]
  readonly nodes: number
}

const STANDINGS = ['allowed', 'disabled', 'unknown', 'changed'] as const

function readPack(pack: JsonObject): Pack {
  const standing = STANDINGS.find((each) => each === pack.standing) ?? 'unknown'
  return { name: toText(pack.name), standing, isolated: pack.isolated === true, problem: toText(pack.problem), needs: (isArray(pack.needs) ? pack.needs : []).map(String), nodes: toNumber(pack.nodes) }
}

export const api = {
  objectInfo: (): Promise<Json> => call('object_info', { cache: 'no-cache' }),

  translations: (): Promise<Json> => call('i18n', { cache: 'no-cache' }),

  async packs(): Promise<Pack[]> {
    const answer = await call('packs', { cache: 'no-cache' })
    return (isArray(answer) ? answer : []).filter(isObject).map(readPack)
  },

  decideOnPack: (name: string, decision: Decision): Promise<Json> => post(`packs/${encodeURIComponent(name)}`, { decision }),

  /** Queues a workflow; gives the node_errors of the parts that were left out. */
  async queue(body: JsonObject): Promise<JsonObject> {
    const answer = await post('prompt', body)
    return isObject(answer) && isObject(answer.node_errors) ? answer.node_errors : {}
  },

  /** What is wrong with a workflow, which is not queued: the node_errors of `queue`; and what would suit its model better. */
  async check(body: JsonObject): Promise<{ errors: JsonObject; suggestions: Suggestion[] }> {
    const answer = await post('prompt/check', body)
    if (!isObject(answer)) return { errors: {}, suggestions: [] }
    return { errors: isObject(answer.node_errors) ? answer.node_errors : {}, suggestions: isArray(answer.suggestions) ? answer.suggestions.filter(isObject).map(readSuggestion) : [] }
  },

  /** Jobs, newest first; of those in a state, or with these words in prompt, file names or error. */
  async jobs(limit: number, text = '', status = ''): Promise<{ jobs: Job[]; paused: boolean; more: boolean }> {
    const query = new URLSearchParams({ limit: String(limit), ...(text ? { text } : {}), ...(status ? { status } : {}) })
    const answer = await call(`jobs?${query}`)
    if (!isObject(answer)) return { jobs: [], paused: false, more: false }
    return { jobs: (isArray(answer.jobs) ? answer.jobs : []).filter(isObject).map(readJob), paused: answer.paused === true, more: isObject(answer.pagination) && answer.pagination.has_more === true }
  },

  /** The ids of the waiting jobs in the order in which they will run. */
  async waiting(): Promise<string[]> {
    const answer = await call('queue')
    const pending = isObject(answer) && isArray(answer.queue_pending) ? answer.queue_pending : []
    return pending.map((item) => (isArray(item) ? toText(item[1]) : ''))
  },

  async job(id: string): Promise<JobRecord | null> {
    const raw = await call(`jobs/${encodeURIComponent(id)}`)
    if (!isObject(raw)) return null
    const outputs = new Map(Object.entries(isObject(raw.outputs) ? raw.outputs : {}).map(([node, output]) => [node, picturesOf(output)]))
    const texts = new Map(Object.entries(isObject(raw.outputs) ? raw.outputs : {}).map(([node, output]) => [node, textsOf(output)]))
    const verdicts = new Map<string, Verdict>()
    for (const [node, output] of Object.entries(isObject(raw.outputs) ? raw.outputs : {})) {
      const verdict = verdictOf(output)
      if (verdict) verdicts.set(node, verdict)
    }
    const timings = new Map<string, NodeTiming>()
    for (const [node, entry] of Object.entries(isObject(raw.nodes) ? raw.nodes : {}))
      if (isObject(entry)) timings.set(node, { cached: entry.cached === true, seconds: entry.seconds === null || entry.seconds === undefined ? null : toNumber(entry.seconds) })
    const made = isObject(raw.workflow) ? raw.workflow : {}
    const extra = isObject(made.extra_data) && isObject(made.extra_data.extra_pnginfo) ? made.extra_data.extra_pnginfo : {}
    return { ...readJob(raw), outputs, verdicts, texts, timings, warnings: warningsIn(raw.warnings), axes: axesIn(raw.sweep), workflow: extra.workflow ?? null, prompt: made.prompt ?? null }
  },

  async embeddings(): Promise<string[]> {
    const answer = await call('embeddings')
    return (isArray(answer) ? answer : []).map((name) => toText(name)).filter(Boolean)
  },

  async workers(): Promise<Worker[]> {
    const answer = await call('workers')
    return (isObject(answer) && isArray(answer.workers) ? answer.workers : []).filter(isObject).map(readWorker)
  },

  /** Has a worker take no more jobs, or take them again; the one that it runs goes on. */
  drain: (id: string, draining: boolean): Promise<Json> => post(`workers/${encodeURIComponent(id)}/${draining ? 'drain' : 'resume'}`, {}),

  interrupt: (): Promise<Json> => post('interrupt', {}),
  cancel: (id: string): Promise<Json> => post(`jobs/${encodeURIComponent(id)}/cancel`, {}),
  /** The workflow that a file carries, or that makes what another program made by the settings in it; and what of these was left out. */
  async convert(file: Blob): Promise<{ workflow: Json; program: string; left: string[] }> {
    const workflow = await call('workflow/convert?to=editor', { method: 'POST', body: file })
    const report = await call('workflow/check', { method: 'POST', body: file })
    const told = isObject(report) && isArray(report.warnings) ? report.warnings : []
    return { workflow, program: isObject(report) ? toText(report.program) : '', left: told.map((each) => (isObject(each) ? toText(each.message) : '')).filter(Boolean) }
  },

  /** Why each node of a job that has ended ran, or did not have to. */
  async explain(id: string): Promise<ReadonlyMap<string, Explained>> {
    const answer = await call(`jobs/${encodeURIComponent(id)}/explain`)
    const nodes = isObject(answer) && isArray(answer.nodes) ? answer.nodes : []
    return new Map(nodes.filter(isObject).map((raw) => [toText(raw.node_id), readExplained(raw)]))
  },

  retry: (id: string): Promise<Json> => post(`jobs/${encodeURIComponent(id)}/retry`, {}),
  move: (id: string, place: number): Promise<Json> => post(`jobs/${encodeURIComponent(id)}/move`, { place }),
  clearQueue: (): Promise<Json> => post('queue', { clear: true }),
  clearHistory: (): Promise<Json> => post('history', { clear: true }),
  pause: (on: boolean): Promise<Json> => post(on ? 'queue/pause' : 'queue/resume', {}),

  async upload(file: File): Promise<string> {
    const form = new FormData()
    form.set('image', file)
    return stored(await call('upload/image', { method: 'POST', body: form }))
  },

  /** Stores a copy of a picture that has the transparency of `file`. */
  async uploadMask(picture: Picture, file: File): Promise<string> {
    const form = new FormData()
    form.set('image', file)
    form.set('original_ref', JSON.stringify(picture))
    return stored(await call('upload/mask', { method: 'POST', body: form }))
  },

  async examples(): Promise<Example[]> {
    const answer = await call('examples')
    return (isArray(answer) ? answer : []).filter(isObject).map((raw) => ({ name: toText(raw.name), title: both(raw.title), description: both(raw.description) }))
  },
  exampleUrl: (name: string): string => urlOf(`examples/${encodeURIComponent(name)}.webp`),

  async readExample(name: string): Promise<string> {
    const answer = await fetch(urlOf(`examples/${encodeURIComponent(name)}.json`))
    if (!answer.ok) throw new Refused(answer.status, null, answer.statusText)
    return answer.text()
  },

  async savedFiles(): Promise<{ path: string; modified: number }[]> {
    try {
      const answer = await call('userdata?dir=workflows&recurse=true&full_info=true')
      return (isArray(answer) ? answer : []).filter(isObject).map((entry) => ({ path: toText(entry.path), modified: toNumber(entry.modified) }))
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return []
      throw error
    }
  },

  async readFile(path: string): Promise<string> {
    const answer = await fetch(urlOf(`userdata/${encodeURIComponent(`workflows/${path}`)}`), { cache: 'no-store' })
    if (!answer.ok) throw new Refused(answer.status, null, answer.statusText)
    return answer.text()
  },

  /** Gives the time at which the server has stored it. */
  async writeFile(path: string, text: string, overwrite: boolean): Promise<number> {
    const answer = await call(`userdata/${encodeURIComponent(`workflows/${path}`)}?overwrite=${overwrite}&full_info=true`, { method: 'POST', body: text })
    return isObject(answer) ? toNumber(answer.modified) : 0
  },
}
