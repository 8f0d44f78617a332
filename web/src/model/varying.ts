/** The inputs of a node where they hang on its values and links: a choice adds some, and a group grows as it is linked. */
import { defaultOf, type InputDef, type NodeDef } from './definitions'
import { inputsOf, type Node, type Values } from './document'

/** The inputs that a node has with these values: what a choice adds stands right behind it, if it does not already. */
export function activeInputs(inputs: readonly InputDef[], values: Values): readonly InputDef[] {
  if (!inputs.some((input) => input.branches)) return inputs
  const here = new Set(inputs.map((input) => input.name))
  return inputs.flatMap((input) => [input, ...activeInputs(input.branches?.get(String(values[input.name] ?? defaultOf(input))) ?? [], values).filter((added) => !here.has(added.name))])
}

const made = new WeakMap<NodeDef, Map<string, NodeDef>>()

/** The type as this node has it. The same object as long as its inputs are the same. */
export function defFor(def: NodeDef | undefined, node: Pick<Node, 'raw' | 'values'>): NodeDef | undefined {
  if (!def?.inputs.some((input) => input.branches || input.members)) return def
  const linked = new Set(inputsOf(node).filter((slot) => slot.link !== null).map((slot) => slot.name))
  const inputs = activeInputs(def.inputs, node.values).flatMap((input) => membersOf(input, linked))
  const kept = made.get(def) ?? new Map<string, NodeDef>()
  made.set(def, kept)
  const key = inputs.map((input) => input.name).join('\u0000')
  const found = kept.get(key) ?? { ...def, inputs }
  kept.set(key, found)
  return found
}

/** A group's members up to the last that is linked, and one that is free. */
function membersOf(input: InputDef, linked: ReadonlySet<string>): readonly InputDef[] {
  if (!input.members) return [input]
  const { names, least, each } = input.members
  const full = names.map((name) => `${input.name}.${name}`)
  const last = full.findLastIndex((name) => linked.has(name))
  return full.slice(0, Math.max(least, last + 2)).map((name, at) => ({ ...each, name, optional: each.optional || at >= least }))
}

/** Whether a socket that a file lists is one that the node has no longer, or not yet: of another choice, or free in a group. */
export function isSpare(def: NodeDef | undefined, name: string): boolean {
  const holder = def?.inputs.find((input) => (input.branches || input.members) && (name === input.name || name.startsWith(`${input.name}.`)))
  return holder !== undefined
}
