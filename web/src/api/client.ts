/** The calls to the server. Everything goes through its public API, relative to where the page lies. */
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

export interface Picture {
  readonly filename: string
  readonly subfolder: string
  readonly type: string
}

/** What a SafetyCheck said of its pictures: how many it hid, and the highest score; above 0 means found. */
export interface Verdict {
  readonly hidden: number
  readonly of: number
  readonly highest: number | null
}

export function verdictOf(output: Json | undefined): Verdict | null {
  if (!isObject(output) || !isArray(output.flags)) return null
  const scores = (isArray(output.scores) ? output.scores : []).flatMap((entry) => (isObject(entry) && isArray(entry.concepts) ? entry.concepts.map((score) => toNumber(score)) : []))
  return { hidden: output.flags.filter((flag) => flag === true).length, of: output.flags.length, highest: scores.length ? Math.max(...scores) : null }
}

/** Lines that a node shows: scores, measurements. */
export const textsOf = (output: Json | undefined): string[] => (isObject(output) && isArray(output.text) ? output.text.filter((line) => typeof line === 'string') : [])

export function viewUrl(picture: Picture, small = false): string {
  const query = new URLSearchParams({ filename: picture.filename, subfolder: picture.subfolder, type: picture.type })
  if (small) query.set('preview', 'webp;80')
  return urlOf(`view?${query}`)
}

export function picturesOf(output: Json | undefined): Picture[] {
  const found: Picture[] = []
  if (!isObject(output)) return found
  for (const entries of Object.values(output))
    for (const entry of isArray(entries) ? entries : [])
      if (isObject(entry) && typeof entry.filename === 'string' && /\.(png|jpe?g|webp|gif|avif)$/i.test(entry.filename))
        found.push({
          filename: entry.filename,
          subfolder: toText(entry.subfolder),
          type: toText(entry.type, 'output'),
        })
  return found
}

export interface Job {
  readonly id: string
  readonly status: 'pending' | 'in_progress' | 'completed' | 'failed' | 'cancelled'
  readonly created: number
  readonly started: number
  readonly finished: number
  readonly count: number
  readonly picture: Picture | null
  readonly error: string
  /** What it is: the words of its prompt, its seed, its workflow's name; each empty where the server knows none. */
  readonly words: string
  readonly seed: string
  readonly workflowName: string
}

/** Something that a node left out. */
export interface Warning {
  readonly input: string
  readonly message: string
}

export interface NodeTiming {
  readonly cached: boolean
  readonly seconds: number | null
}

export interface JobRecord extends Job {
  readonly outputs: ReadonlyMap<string, readonly Picture[]>
  readonly verdicts: ReadonlyMap<string, Verdict>
  readonly texts: ReadonlyMap<string, readonly string[]>
  readonly timings: ReadonlyMap<string, NodeTiming>
  readonly warnings: ReadonlyMap<string, readonly Warning[]>
  readonly workflow: Json
  readonly prompt: Json
}

/** A workflow to begin with; texts by language. */
export interface Example {
  readonly name: string
  readonly title: Readonly<Record<'en' | 'zh', string>>
  readonly description: Readonly<Record<'en' | 'zh', string>>
}

const both = (raw: Json | undefined): Example['title'] => (isObject(raw) ? { en: toText(raw.en), zh: toText(raw.zh) || toText(raw.en) } : { en: '', zh: '' })

function readJob(raw: JsonObject): Job {
  const status = toText(raw.status)
  const error = isObject(raw.execution_error) ? toText(raw.execution_error.exception_message) : ''
  const about = isObject(raw.about) ? raw.about : {}
  return {
    id: toText(raw.id),
    status: (['pending', 'in_progress', 'completed', 'failed', 'cancelled'].includes(status) ? status : 'completed') as Job['status'],
    created: toNumber(raw.create_time),
    started: toNumber(raw.execution_start_time),
    finished: toNumber(raw.execution_end_time),
    count: toNumber(raw.outputs_count),
    picture: picturesOf({ images: raw.preview_output ? [raw.preview_output] : [] })[0] ?? null,
    error,
    words: toText(about.prompt),
    seed: about.seed === null || about.seed === undefined ? '' : String(about.seed),
    workflowName: toText(about.workflow_name),
  }
}

function warningsIn(raw: Json | undefined): Map<string, Warning[]> {
  const found = new Map<string, Warning[]>()
  for (const each of isArray(raw) ? raw : []) {
    if (!isObject(each)) continue
    const node = toText(each.display_node) || toText(each.node_id)
    found.set(node, [...(found.get(node) ?? []), { input: toText(each.input_name), message: toText(each.message) }])
  }
  return found
}

/** What was uploaded, as the fields of nodes name it. */
function stored(answer: Json): string {
  if (!isObject(answer)) return ''
  const folder = toText(answer.subfolder)
  return folder ? `${folder}/${toText(answer.name)}` : toText(answer.name)
}

export const api = {
  objectInfo: (): Promise<Json> => call('object_info', { cache: 'no-cache' }),

  translations: (): Promise<Json> => call('i18n', { cache: 'no-cache' }),

  /** Queues a workflow; gives the node_errors of the parts that were left out. */
  async queue(body: JsonObject): Promise<JsonObject> {
    const answer = await post('prompt', body)
    return isObject(answer) && isObject(answer.node_errors) ? answer.node_errors : {}
  },

  /** What is wrong with a workflow, which is not queued: the node_errors of `queue`. */
  async check(body: JsonObject): Promise<JsonObject> {
    const answer = await post('prompt/check', body)
    return isObject(answer) && isObject(answer.node_errors) ? answer.node_errors : {}
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
    return { ...readJob(raw), outputs, verdicts, texts, timings, warnings: warningsIn(raw.warnings), workflow: extra.workflow ?? null, prompt: made.prompt ?? null }
  },

  async embeddings(): Promise<string[]> {
    const answer = await call('embeddings')
    return (isArray(answer) ? answer : []).map((name) => toText(name)).filter(Boolean)
  },

  interrupt: (): Promise<Json> => post('interrupt', {}),
  cancel: (id: string): Promise<Json> => post(`jobs/${encodeURIComponent(id)}/cancel`, {}),
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
