/** May this output go into that input, and what does a node offer on its card? */
import { BUILTIN } from './builtin'
import type { Definitions, InputDef, NodeDef } from './definitions'
import { inputsOf, isNote, outputsOf, subgraphsOf, type Document, type Node } from './document'
import { matchedOf, NOTHING_MATCHED, type Matched } from './matching'
import { fits } from './types'
import { defFor, isSpare } from './varying'
import type { Ends } from './edit'

export interface InputPort {
  readonly name: string
  readonly label: string
  readonly type: string
  readonly def: InputDef | null
  readonly optional: boolean
}

export interface OutputPort {
  readonly name: string
  readonly label: string
  readonly type: string
  readonly slot: number
  readonly tooltip: string
}

export interface Ports {
  readonly inputs: readonly InputPort[]
  readonly widgets: readonly InputPort[]
  readonly outputs: readonly OutputPort[]
}

/** The sockets of a node where it stands, as its links have made them; `without`: an input whose link does not count. */
export const portsOf = (doc: Document, node: Node, definitions: Definitions, without?: string): Ports => portsWith(node, definitions.get(node.type), matchedOf(doc, definitions, node, without))

/** Sockets in the order of the definition, then what only the file knows. */
export function portsWith(node: Node, given: NodeDef | undefined, matched: Matched = NOTHING_MATCHED): Ports {
  const typed = (declared: { readonly type: string; readonly match?: string }): string => matched[declared.match ?? ''] ?? declared.type
  const def = defFor(given, node)
  const saved = inputsOf(node)
  const inputs: InputPort[] = []
  const widgets: InputPort[] = []
  for (const input of def?.inputs ?? []) {
    const label = saved.find((slot) => slot.name === input.name)?.label ?? input.name
    const port = { name: input.name, label, type: typed(input), def: input, optional: input.optional }
    if (input.widget) widgets.push(port)
    else inputs.push(port)
  }
  for (const slot of saved)
    if (!def?.inputs.some((input) => input.name === slot.name) && (slot.link !== null || !isSpare(given, slot.name))) inputs.push({ name: slot.name, label: slot.label, type: slot.type, def: null, optional: true })
  const savedOutputs = outputsOf(node)
  const outputs = def
    ? def.outputs.map((output, slot) => ({ name: output.name, label: savedOutputs[slot]?.label || output.name, type: typed(output), slot, tooltip: output.tooltip }))
    : savedOutputs.map((output, slot) => ({ ...output, slot, tooltip: '' }))
  return isNote(node) ? { inputs: [], widgets: [], outputs: [] } : { inputs, widgets, outputs }
}

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: 'types' | 'self' | 'cycle' | 'gone'; readonly given: string; readonly wanted: string; readonly input: string }

export function canConnect(doc: Document, definitions: Definitions, ends: Ends): Verdict {
  const source = doc.nodes.get(ends.from)
  const target = doc.nodes.get(ends.to)
  const no = (reason: 'types' | 'self' | 'cycle' | 'gone', given = '', wanted = ''): Verdict => ({ ok: false, reason, given, wanted, input: ends.input })
  if (!source || !target) return no('gone')
  if (source.id === target.id) return no('self')
  const output = portsOf(doc, source, definitions).outputs[ends.fromSlot]
  const ports = portsOf(doc, target, definitions, ends.input)
  const input = [...ports.inputs, ...ports.widgets].find((port) => port.name === ends.input)
  if (!output || !input) return no('gone')
  if (!fits(output.type, input.type)) return no('types', output.type, input.type)
  if (reaches(doc, target.id, source.id)) return no('cycle', output.type, input.type)
  return { ok: true }
}

/** Whether data from one node gets to another. */
function reaches(doc: Document, from: string, to: string): boolean {
  const next = new Map<string, string[]>()
  for (const link of doc.links.values()) next.set(link.from, [...(next.get(link.from) ?? []), link.to])
  const seen = new Set([from])
  const waiting = [from]
  while (waiting.length) {
    const id = waiting.pop() as string
    if (id === to) return true
    for (const each of next.get(id) ?? []) if (!seen.has(each)) seen.add(each), waiting.push(each)
  }
  return false
}

/** The inputs of `target` that an output fits, free ones first. */
export function fittingInputs(doc: Document, definitions: Definitions, from: string, fromSlot: number, target: Node): InputPort[] {
  const ports = portsOf(doc, target, definitions)
  const linked = new Set(inputsOf(target).filter((slot) => slot.link !== null).map((slot) => slot.name))
  const fitting = [...ports.inputs, ...ports.widgets].filter((port) => canConnect(doc, definitions, { from, fromSlot, to: target.id, input: port.name }).ok)
  const rank = (port: InputPort): number => (linked.has(port.name) ? 4 : 0) + (port.def?.widget ? 2 : 0) + (port.type === '*' ? 1 : 0)
  return fitting.sort((a, b) => rank(a) - rank(b))
}

export function nameOf(node: Node, doc: Document, definitions: Definitions): string {
  const title = node.raw.title
  if (typeof title === 'string' && title) return title
  const def = definitions.get(node.type) ?? BUILTIN.get(node.type)
  return def ? def.title : (subgraphsOf(doc.file).get(node.type)?.name ?? node.type)
}
