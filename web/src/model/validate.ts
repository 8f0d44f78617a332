/** What is wrong with a graph before the server is asked: each problem at its node and input. */
import { isArray, isObject, RawNumber, sameJson, toNumber, toText, type Json } from '../io/json'
import { looksShifted, valueOf } from '../io/widgets'
import type { Definitions, InputDef, NodeDef } from './definitions'
import { known } from './library'
import { readSeveral } from './sweep'
import { graphOf, openSubgraph } from './subgraphs'
import { defFor } from './varying'
import { BYPASSED, isVirtual, linkInto, MUTED, modeOf, type Document, type Node } from './document'

export type ProblemCode = 'unknown_type' | 'missing_link' | 'not_in_list' | 'no_choices' | 'no_pictures' | 'nothing_chosen' | 'too_small' | 'too_big' | 'not_a_number' | 'shifted' | 'wrong_type' | 'wrong_kind' | 'link_gone' | 'unchecked' | 'unreadable' | 'bad_sweep' | 'server' | 'failed'

/** `foreseen`: the server says that it would refuse it, before anything is run. */
export interface Problem {
  readonly node: string
  readonly input: string
  readonly code: ProblemCode
  readonly params: Readonly<Record<string, string>>
  readonly foreseen?: boolean
  /** Whether the server said so: it may be over once its files or rules are others. */
  readonly said?: boolean
}

/** A problem that somebody told us, with all that the node rests on: once any of that changes, nobody knows whether it still holds. */
export interface Told {
  readonly problem: Problem
  readonly cause: readonly unknown[]
}

export const told = (root: Document | undefined, server: Definitions, problems: readonly Problem[]): Told[] => problems.map((problem) => ({ problem, cause: root ? causeOf(root, server, problem.node) : [] }))

const held = new WeakMap<readonly Told[], { readonly root: Document; readonly left: readonly Problem[] }>()

/** Of what we were told, what may hold still. The same list as long as that does not change. */
export function holding(root: Document, server: Definitions, all: readonly Told[]): readonly Problem[] {
  const kept = held.get(all)
  if (kept?.root === root) return kept.left
  const left = all.filter(({ problem, cause }) => isSame(cause, causeOf(root, server, problem.node))).map(({ problem }) => problem)
  const same = kept && kept.left.length === left.length && left.every((problem, at) => problem === kept.left[at]) ? kept.left : left
  held.set(all, { root, left: same })
  return same
}

const isSame = (a: readonly unknown[], b: readonly unknown[]): boolean => a.length > 0 && a.length === b.length && a.every((each, at) => each === b[at])

/** The values, links and modes of a node and of all that it reads, in its graph and, of a subgraph's node, outside; empty where it is gone. */
function causeOf(root: Document, server: Definitions, id: string): unknown[] {
  const graph = graphOf(root, id, server)
  const start = graph?.doc.nodes.get(id.split(':').at(-1) ?? '')
  if (!graph || !start) return []
  const sources = new Map<string, string[]>()
  for (const link of graph.doc.links.values()) sources.set(link.to, [...(sources.get(link.to) ?? []), link.from])
  const seen = new Set([start.id])
  for (const each of seen) for (const from of sources.get(each) ?? []) seen.add(from)
  const own = [...seen].flatMap((each) => {
    const node = graph.doc.nodes.get(each)
    return node ? [each, node.values, node.raw.inputs, node.raw.mode] : [each]
  })
  const outer = id.split(':').slice(0, -1).join(':')
  return outer ? [...own, ...causeOf(root, server, outer)] : own
}

/** What is wrong with a node's own values, whatever it is linked to. */
export function checkValues(node: Node, def: NodeDef, linked: ReadonlySet<string>): Problem[] {
  const problems: Problem[] = []
  for (const input of def.inputs) {
    if (!input.widget || linked.has(input.name)) continue
    const found = checkValue(input, valueOf(node, input))
    if (found) problems.push({ node: node.id, input: input.name, code: found.code, params: { input: input.name, ...found.params } })
  }
  return problems
}

/** Everything wrong with a workflow; nodes in subgraphs are named as the server names them: `12:3`. */
export function validate(root: Document, server: Definitions): Problem[] {
  return server.size ? validateGraph(root, root, server, '') : []
}

function validateGraph(root: Document, doc: Document, server: Definitions, prefix: string): Problem[] {
  const definitions = known(server, root.file)
  const problems: Problem[] = []
  for (const node of doc.nodes.values()) {
    const mode = modeOf(node)
    if (isVirtual(node) || mode === MUTED || mode === BYPASSED) continue
    const id = prefix + node.id
    const add = (input: string, code: ProblemCode, params: Record<string, string> = {}): unknown => problems.push({ node: id, input, code, params })
    const def = defFor(definitions.get(node.type), node)
    if (!def) {
      add('', 'unknown_type', { type: node.type })
      continue
    }
    if (looksShifted(node, def)) add('', 'shifted')
    const linked = new Set(def.inputs.filter((input) => linkInto(doc, node, input.name)).map((input) => input.name))
    for (const input of def.inputs) if (!input.widget && !input.optional && !linked.has(input.name)) add(input.name, 'missing_link', { input: input.name, type: input.type })
    problems.push(...checkValues(node, def, linked).map((problem) => ({ ...problem, node: id })))
    const inner = prefix.split(':').length < 12 ? openSubgraph(root, node.type, server) : null
    if (inner) problems.push(...validateGraph(root, inner, server, `${id}:`))
  }
  return problems
}

export function checkValue(input: InputDef, value: Json): { code: ProblemCode; params: Record<string, string> } | null {
  const several = readSeveral(value)
  if (several) return several.values.map((each) => checkValue(input, each)).find((found) => found !== null) ?? null
  if (input.widget === 'combo') {
    if (input.choices.some((choice) => sameJson(choice, value))) return null
    if (!input.choices.length) return { code: input.upload ? 'no_pictures' : 'no_choices', params: {} }
    if (value === '' || value === null) return { code: 'nothing_chosen', params: {} }
    const text = toText(value, String(value))
    return { code: 'not_in_list', params: { value: text, near: nearest(text, input.choices.filter((choice): choice is string => typeof choice === 'string')) } }
  }
  if (input.widget !== 'int' && input.widget !== 'float') return null
  const text = value instanceof RawNumber ? value.text : String(value)
  if (isObject(value) || isArray(value) || text.trim() === '' || !Number.isFinite(Number(text))) return { code: 'not_a_number', params: { value: text } }
  if (input.options.min !== undefined && less(text, String(input.options.min))) return { code: 'too_small', params: { limit: String(input.options.min) } }
  if (input.options.max !== undefined && less(String(input.options.max), text)) return { code: 'too_big', params: { limit: String(input.options.max) } }
  return null
}

/** Compares numbers, whole ones of any length exactly. */
function less(a: string, b: string): boolean {
  if (/^-?\d+$/.test(a) && /^-?\d+$/.test(b)) return BigInt(a) < BigInt(b)
  return toNumber(a) < toNumber(b)
}

/** The choice most like `text`, if any is like it. */
export function nearest(text: string, choices: readonly string[]): string {
  const stem = (name: string): string => (name.split(/[\\/]/).at(-1) ?? name).toLowerCase().replace(/\.[a-z]+$/, '')
  const wanted = stem(text)
  let best = ''
  let most = 0.34
  for (const choice of choices) {
    const likeness = alike(wanted, stem(choice))
    if (likeness > most) (most = likeness), (best = choice)
  }
  return best
}

/** Share of pairs of letters that two words have in common. */
function alike(a: string, b: string): number {
  if (a === b) return 1
  const pairs = (word: string): string[] => Array.from({ length: Math.max(0, word.length - 1) }, (_, at) => word.slice(at, at + 2))
  const left = pairs(a)
  const right = pairs(b)
  const total = left.length + right.length
  if (!total) return 0
  let shared = 0
  for (const pair of left) {
    const at = right.indexOf(pair)
    if (at >= 0) shared++, right.splice(at, 1)
  }
  return (2 * shared) / total
}
