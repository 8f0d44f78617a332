/** What the server says of jobs, pictures and examples, read once and checked. */
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from '../io/json'

export interface Picture {
  readonly filename: string
  readonly subfolder: string
  readonly type: string
  /** Its place on each axis of a sweep. */
  readonly cell?: readonly (number | null)[]
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
          ...(isArray(entry.cell) ? { cell: entry.cell.map((at) => (at === null ? null : toNumber(at))) } : {}),
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
  /** Who submitted it for the user. */
  readonly program: string
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
  readonly axes: readonly Axis[]
  readonly workflow: Json
  readonly prompt: Json
}

/** A workflow to begin with; texts by language. */
export interface Example {
  readonly name: string
  readonly title: Readonly<Record<'en' | 'zh', string>>
  readonly description: Readonly<Record<'en' | 'zh', string>>
}

export const both = (raw: Json | undefined): Example['title'] => (isObject(raw) ? { en: toText(raw.en), zh: toText(raw.zh) || toText(raw.en) } : { en: '', zh: '' })

export function readJob(raw: JsonObject): Job {
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
    program: toText(about.program),
  }
}

/** What a node did in a run, and why. */
export interface Explained {
  readonly did: string
  readonly reasons: readonly { readonly kind: string; readonly input: string; readonly before: string; readonly after: string; readonly node: string }[]
  readonly seconds: number | null
  readonly peak: number | null
}

export function readExplained(raw: JsonObject): Explained {
  const reasons = (isArray(raw.reasons) ? raw.reasons : []).filter(isObject)
  const number = (value: Json | undefined): number | null => (value === null || value === undefined ? null : toNumber(value))
  return {
    did: toText(raw.did),
    reasons: reasons.map((each) => ({ kind: toText(each.kind), input: toText(each.input), before: toText(each.before), after: toText(each.after), node: toText(each.node) })),
    seconds: number(raw.seconds),
    peak: number(raw.peak_bytes),
  }
}

/** A direction of a sweep's grid, and what stands beside each of its places. */
export interface Axis {
  readonly name: string
  readonly labels: readonly string[]
  /** The inputs that take another value at each place. */
  readonly inputs: readonly { readonly node: string; readonly input: string }[]
}

export function axesIn(sweep: Json | undefined): readonly Axis[] {
  const axes = isObject(sweep) && isArray(sweep.axes) ? sweep.axes : []
  return axes.filter(isObject).map((each) => ({
    name: toText(each.name),
    labels: (isArray(each.labels) ? each.labels : []).map(String),
    inputs: (isArray(each.inputs) ? each.inputs : []).filter(isObject).map((one) => ({ node: toText(one.node), input: toText(one.input) })),
  }))
}

export function warningsIn(raw: Json | undefined): Map<string, Warning[]> {
  const found = new Map<string, Warning[]>()
  for (const each of isArray(raw) ? raw : []) {
    if (!isObject(each)) continue
    const node = toText(each.display_node) || toText(each.node_id)
    found.set(node, [...(found.get(node) ?? []), { input: toText(each.input_name), message: toText(each.message) }])
  }
  return found
}

const WORKER_STATES = ['starting', 'running', 'drained', 'paused', 'idle'] as const

/** A process that runs jobs. */
export interface Worker {
  readonly id: string
  readonly state: (typeof WORKER_STATES)[number]
  readonly draining: boolean
  /** The job that it runs, or draws cells of; empty for none. */
  readonly job: string
  readonly lost: number
  readonly models: readonly { readonly name: string; readonly bytes: number }[]
}

export function readWorker(raw: JsonObject): Worker {
  const models = Object.entries(isObject(raw.models) ? raw.models : {}).map(([name, bytes]) => ({ name, bytes: toNumber(bytes) }))
  return { id: toText(raw.id), state: WORKER_STATES.find((each) => each === raw.state) ?? 'starting', draining: raw.draining === true, job: toText(raw.job), lost: toNumber(raw.lost), models }
}

/** Values that would suit a model better than those of a node; they belong together. */
export interface Suggestion {
  readonly node: string
  readonly values: JsonObject
  readonly model: string
  readonly file: string
}

export const readSuggestion = (raw: JsonObject): Suggestion => ({ node: toText(raw.node_id), values: isObject(raw.values) ? raw.values : {}, model: toText(raw.model), file: toText(raw.file) })
