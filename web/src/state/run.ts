/** The runs: queue, progress, previews, pictures, failures. Changed by the server's messages only. */
import { create } from 'zustand'
import { api, type Job, type Picture, type Verdict, type Warning } from '../api/client'
import { shownBy } from '../io/api'
import { connectSocket, type LiveMessage } from '../api/socket'
import { told, type Problem, type Told } from '../model/validate'
import { newId, tabOf } from './documents'
import { recallSeeds, showSeedsOf } from './seeds'
import { useSettings } from './settings'
import { serverDefinitions } from './server'

export interface NodeRun {
  readonly state: 'waiting' | 'running' | 'done' | 'cached' | 'error'
  readonly value: number
  readonly max: number
  readonly preview: string | null
  readonly pictures: readonly Picture[]
  readonly seconds: number | null
  readonly verdict: Verdict | null
  /** How the node was run again after it had run out of memory; empty where it was not. */
  readonly retried: string
  readonly texts: readonly string[]
  /** What it left out. */
  readonly warnings: readonly Warning[]
}

export type NodeRuns = Readonly<Record<string, NodeRun>>

interface Run {
  readonly connected: boolean | null
  readonly remaining: number
  readonly jobs: readonly Job[]
  readonly waiting: readonly string[]
  readonly paused: boolean
  /** What runs now, of ours: its job, document, node and newest preview. */
  readonly current: { readonly prompt: string; readonly doc: string; readonly node: string | null; readonly preview: string | null } | null
  readonly nodes: Readonly<Record<string, NodeRuns>>
  readonly problems: Readonly<Record<string, readonly Told[]>>
  readonly latest: { readonly prompt: string; readonly doc: string; readonly picture: Picture } | null
}

export const useRun = create<Run>(() => ({ connected: null, remaining: 0, jobs: [], waiting: [], paused: false, current: null, nodes: {}, problems: {}, latest: null }))

const IDLE: NodeRun = { state: 'waiting', value: 0, max: 0, preview: null, pictures: [], seconds: null, verdict: null, retried: '', texts: [], warnings: [] }

const gathered = new WeakMap<NodeRuns, Map<string, NodeRun | undefined>>()

/** How a node's run stands; that of a subgraph is made of what runs inside it. */
export function runOf(runs: NodeRuns | undefined, id: string, isSubgraph: boolean): NodeRun | undefined {
  if (!runs || !isSubgraph) return runs?.[id]
  const kept = gathered.get(runs) ?? new Map<string, NodeRun | undefined>()
  gathered.set(runs, kept)
  if (!kept.has(id)) kept.set(id, gather(Object.entries(runs).flatMap(([inner, run]) => (inner.startsWith(`${id}:`) ? [run] : []))))
  return kept.get(id)
}

function gather(runs: readonly NodeRun[]): NodeRun | undefined {
  if (!runs.length) return undefined
  const running = runs.find((run) => run.state === 'running')
  if (running) return running
  const state = runs.some((run) => run.state === 'error') ? 'error' : runs.every((run) => run.state === 'cached') ? 'cached' : runs.every((run) => run.state === 'cached' || run.state === 'done') ? 'done' : 'waiting'
  const times = runs.flatMap((run) => (run.seconds === null || run.state === 'cached' ? [] : [run.seconds]))
  const warnings = runs.flatMap((run) => run.warnings)
  return { ...IDLE, state, warnings, seconds: times.length ? times.reduce((sum, each) => sum + each, 0) : null }
}

function sessionValue(key: string, make: () => string): string {
  try {
    const held = sessionStorage.getItem(key) ?? make()
    sessionStorage.setItem(key, held)
    return held
  } catch {
    return make()
  }
}

export const clientId = sessionValue('darkroom.client', newId)
const OWNERS = 'darkroom.runs'
const owners = new Map<string, string>(JSON.parse(sessionValue(OWNERS, () => '[]')) as [string, string][])

/** Remembers whose run this is; a preview never shows on another workflow's node of the same id. */
export function own(prompt: string, doc: string): void {
  owners.set(prompt, doc)
  try {
    sessionStorage.setItem(OWNERS, JSON.stringify([...owners].slice(-200)))
  } catch {
    // without storage the link between runs and workflows lasts until the page is reloaded
  }
}
export const ownerOf = (prompt: string): string | undefined => owners.get(prompt)

const toldOf = (doc: string, problems: readonly Problem[]): readonly Told[] => told(tabOf(doc)?.history.present, serverDefinitions(), problems)

export const setProblems = (doc: string, problems: readonly Problem[]): void => useRun.setState((state) => ({ problems: { ...state.problems, [doc]: toldOf(doc, problems) } }))

/** What the server said of the files it has may be over once it has been asked again what there is. */
export const forgetRefusals = (): void =>
  useRun.setState((state) => ({ problems: Object.fromEntries(Object.entries(state.problems).map(([doc, all]) => [doc, all.filter(({ problem }) => !problem.said)])) }))

/** Takes in what the server would refuse, in place of what it would have before. */
export function foresee(doc: string, problems: readonly Problem[]): void {
  useRun.setState((state) => {
    const others = (state.problems[doc] ?? []).filter((each) => !each.problem.foreseen)
    const fresh = problems.filter((problem) => !others.some((each) => each.problem.node === problem.node && each.problem.input === problem.input))
    if (!fresh.length && others.length === (state.problems[doc]?.length ?? 0)) return state
    return { problems: { ...state.problems, [doc]: [...others, ...toldOf(doc, fresh.map((problem) => ({ ...problem, foreseen: true })))] } }
  })
}

let waitingMessages: LiveMessage[] = []
let frame = 0

/** Messages are taken in once a frame: a burst of them is one drawing. */
function hear(message: LiveMessage): void {
  waitingMessages.push(message)
  if (!frame) frame = document.hidden ? window.setTimeout(takeIn, 50) : requestAnimationFrame(takeIn)
}

type Edited = Extract<LiveMessage, { type: 'edited' }>
let tellEdited: (edited: Edited) => void = () => undefined
let tellTypes: () => void = () => undefined

function takeIn(): void {
  frame = 0
  const messages = waitingMessages
  waitingMessages = []
  useRun.setState((state) => messages.reduce(apply, state))
  for (const message of messages) if (message.type === 'edited') tellEdited(message)
  if (messages.some((message) => message.type === 'types')) tellTypes()
  for (const message of messages) if ((message.type === 'executed' && message.pictures.length) || message.type === 'success') showSeedsOf(message.prompt)
}

const urls = new Set<string>()
function release(url: string | null | undefined): void {
  if (url && urls.delete(url)) setTimeout(() => URL.revokeObjectURL(url), 200)
}

function apply(state: Run, message: LiveMessage): Run {
  if (message.type === 'status') {
    if (isSilent) void refreshJobs()
    else scheduleRefresh()
    return { ...state, remaining: message.remaining }
  }
  if (message.type === 'edited' || message.type === 'types') return state
  const prompt = message.prompt || state.current?.prompt || ''
  const doc = owners.get(prompt)
  if (!doc) return state
  const runs = state.nodes[doc] ?? {}
  const set = (node: string, change: Partial<NodeRun>): Run => ({ ...state, nodes: { ...state.nodes, [doc]: { ...runs, [node]: { ...(runs[node] ?? IDLE), ...change } } } })
  switch (message.type) {
    case 'start': {
      const cleared = Object.fromEntries(Object.entries(runs).map(([id, run]) => [id, { ...run, state: 'waiting' as const, value: 0, max: 0, retried: '', warnings: [] }]))
      return { ...state, current: { prompt, doc, node: null, preview: null }, nodes: { ...state.nodes, [doc]: cleared }, problems: { ...state.problems, [doc]: [] } }
    }
    case 'cached':
      return { ...state, nodes: { ...state.nodes, [doc]: { ...runs, ...Object.fromEntries(message.nodes.map((id) => [id, { ...(runs[id] ?? IDLE), state: 'cached' as const }])) } } }
    case 'executing': {
      if (message.node === null) return ended(state, prompt, doc)
      const next = set(message.node, { state: 'running', value: 0, max: 0, seconds: null, retried: '' })
      return { ...next, current: { prompt, doc, node: message.node, preview: state.current?.preview ?? null } }
    }
    case 'retried':
      return set(message.node, { value: 0, max: 0, retried: message.how })
    case 'warned':
      return set(message.node, { warnings: [...(runs[message.node]?.warnings ?? []), message.warning] })
    case 'progress':
      return set(message.node, { state: 'running', value: message.value, max: message.max })
    case 'finished':
      return { ...state, nodes: { ...state.nodes, [doc]: { ...runs, ...Object.fromEntries(message.nodes.filter((id) => runs[id]?.state === 'running').map((id) => [id, { ...(runs[id] as NodeRun), state: 'done' as const }])) } } }
    case 'executed': {
      const next = set(message.node, { pictures: message.pictures, verdict: message.verdict, texts: message.texts })
      const picture = message.pictures[0]
      return picture ? { ...next, latest: { prompt, doc, picture } } : next
    }
    case 'preview': {
      const node = message.node || state.current?.node
      if (!node || !state.current || !useSettings.getState().previews) return state
      const url = URL.createObjectURL(message.picture)
      urls.add(url)
      release(runs[node]?.preview)
      const next = set(node, { preview: url })
      return { ...next, current: { ...state.current, preview: url } }
    }
    case 'error':
      return { ...set(message.node, { state: 'error' }), problems: { ...state.problems, [doc]: toldOf(doc, [{ node: message.node, input: message.input, code: 'failed', params: { message: message.message, kind: message.kind } }]) } }
    case 'success':
    case 'interrupted':
      return state
  }
}

function ended(state: Run, prompt: string, doc: string): Run {
  const runs = state.nodes[doc] ?? {}
  const settled = Object.fromEntries(
    Object.entries(runs).map(([id, run]) => {
      release(run.preview)
      return [id, { ...run, preview: null, state: run.state === 'running' ? ('waiting' as const) : run.state }]
    }),
  )
  void recall(prompt, doc)
  return { ...state, current: state.current?.prompt === prompt ? null : state.current, nodes: { ...state.nodes, [doc]: settled } }
}

/** Takes over from the server's record of a job: what each node cost, what was cached, what was made. */
async function recall(prompt: string, doc: string): Promise<void> {
  const record = await api.job(prompt).catch(() => null)
  if (!record) return
  useRun.setState((state) => {
    const runs: Record<string, NodeRun> = { ...state.nodes[doc] }
    for (const [id, timing] of record.timings) {
      const run = runs[id] ?? IDLE
      runs[id] = { ...run, state: run.state === 'error' ? 'error' : timing.cached ? 'cached' : timing.seconds === null ? run.state : 'done', seconds: timing.seconds }
    }
    for (const [id, verdict] of record.verdicts) runs[id] = { ...(runs[id] ?? IDLE), verdict }
    for (const [id, texts] of record.texts) runs[id] = { ...(runs[id] ?? IDLE), texts }
    for (const [id, run] of Object.entries(runs)) if (run.warnings.length) runs[id] = { ...run, warnings: [] }
    for (const [id, warnings] of record.warnings) runs[shownBy(id)] = { ...(runs[shownBy(id)] ?? IDLE), warnings }
    for (const [id, pictures] of record.outputs) runs[shownBy(id)] = { ...(runs[shownBy(id)] ?? IDLE), pictures }
    return { nodes: { ...state.nodes, [doc]: runs } }
  })
}

let isSilent = false // whether the connection has told nothing yet: from its first status on it misses none
let refreshing = 0
function scheduleRefresh(): void {
  if (!refreshing) refreshing = window.setTimeout(() => void refreshJobs(), 60)
}

let asked = 0
let stale = 0 // the newest question whose answer would show what is over
let changes = 0 // of ours that the server has not answered
let unsettled = 0 // the first question since the connection came back, until an answer from then on is taken

/** Takes the jobs as the server has them; answers that come late or do not know of our last change are dropped. */
export async function refreshJobs(): Promise<void> {
  clearTimeout(refreshing)
  refreshing = 0
  isSilent = false
  const mine = ++asked
  try {
    const [{ jobs, paused }, waiting] = await Promise.all([api.jobs(200), api.waiting()])
    if (changes || mine <= stale) return
    stale = mine
    useRun.setState({ jobs, paused, waiting })
  } catch {
    return // the lost connection is shown already; the next status asks again
  }
  if (unsettled && mine >= unsettled) await settle()
}

/** Waits for a change of the queue that is shown already, and then shows the queue as the server has it. */
export async function changeJobs(call: Promise<unknown>): Promise<void> {
  changes += 1
  try {
    await call
  } finally {
    changes -= 1
    stale = asked
    void refreshJobs()
  }
}

/** After a reload or a lost connection: what runs and what has run, from the server, not guessed. */
async function settle(): Promise<void> {
  unsettled = 0
  const { jobs, current } = useRun.getState()
  const running = jobs.find((job) => job.status === 'in_progress' && owners.has(job.id))
  if (current && current.prompt !== running?.id) useRun.setState((state) => ended(state, current.prompt, current.doc))
  const seen = new Set<string>()
  for (const job of jobs) {
    const doc = owners.get(job.id)
    if (!doc || seen.has(doc) || job.status !== 'completed') continue
    seen.add(doc)
    await recall(job.id, doc)
    showSeedsOf(job.id)
    const picture = job.picture
    if (picture) useRun.setState((state) => (state.latest ? {} : { latest: { prompt: job.id, doc, picture } }))
  }
}

/** Listens to the server. `edited` hears what programs change in the user's files, `types` that there are other node types. */
export function startLive(edited: (edited: Edited) => void, types: () => void): () => void {
  tellEdited = edited
  tellTypes = types
  recallSeeds()
  return connectSocket(clientId, hear, (open) => {
    useRun.setState({ connected: open })
    if (!open) return
    unsettled = asked + 1
    isSilent = true
  })
}
