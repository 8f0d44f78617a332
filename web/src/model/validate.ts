/** What is wrong with a graph before the server is asked: each problem at its node and input. */
import { isArray, isObject, RawNumber, sameJson, toNumber, toText, type Json } from '../io/json'
import { looksShifted, valueOf } from '../io/widgets'
import type { Definitions, InputDef, NodeDef } from './definitions'
import { known } from './library'
import { openSubgraph } from './subgraphs'
import { BYPASSED, isVirtual, linkInto, MUTED, modeOf, type Document, type Node } from './document'

export type ProblemCode = 'unknown_type' | 'missing_link' | 'not_in_list' | 'too_small' | 'too_big' | 'not_a_number' | 'shifted' | 'server' | 'foreseen' | 'failed'

export interface Problem {
  readonly node: string
  readonly input: string
  readonly code: ProblemCode
  readonly params: Readonly<Record<string, string>>
}

/** A problem that somebody told us, with what it was about: once that changes, nobody knows whether it still holds. */
export interface Told {
  readonly problem: Problem
  readonly values: unknown
  readonly inputs: unknown
}

export function told(nodeAt: (id: string) => Node | undefined, problems: readonly Problem[]): Told[] {
  return problems.map((problem) => ({ problem, values: nodeAt(problem.node)?.values, inputs: nodeAt(problem.node)?.raw.inputs }))
}

export const stillHolds = (each: Told, node: Node | undefined): boolean => node !== undefined && each.values === node.values && each.inputs === node.raw.inputs

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
    const def = definitions.get(node.type)
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
  if (input.widget === 'combo') {
    if (input.choices.some((choice) => sameJson(choice, value))) return null
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
