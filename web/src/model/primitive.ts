/** PrimitiveNode: a field by itself, of the kind of the first field that it is linked to. */
import { isArray } from '../io/json'
import { bindValues, controlOf, layoutOf, valueOf } from '../io/widgets'
import { inputOf, type Definitions, type InputDef, type NodeDef } from './definitions'
import { inputAt, slots, type Document, type Node } from './document'
import { setRaw, withNode } from './edit'
import { defFor } from './varying'

export const isPrimitive = (node: Node): boolean => node.type === 'PrimitiveNode'

const made = new WeakMap<InputDef, NodeDef>()

function primitiveFor(input: InputDef): NodeDef {
  const kept = made.get(input)
  if (kept) return kept
  const control = input.widget === 'int' || input.widget === 'float' ? 'seed' : input.widget === 'combo' ? 'combo' : 'none'
  const value: InputDef = { ...input, name: 'value', optional: true, control, upload: false }
  const def: NodeDef = { type: 'PrimitiveNode', title: 'Primitive', category: 'utils', description: '', pack: '', inputs: [value], outputs: [{ name: input.type, type: input.type, tooltip: '' }], isTerminal: false, isDeprecated: false, isExperimental: false }
  made.set(input, def)
  return def
}

function targetOf(doc: Document, node: Node, definitions: Definitions): { node: Node; input: InputDef } | undefined {
  for (const link of doc.links.values()) {
    const target = link.from === node.id ? doc.nodes.get(link.to) : undefined
    const input = target && inputOf(defFor(definitions.get(target.type), target), inputAt(target, link.toSlot))
    if (target && input?.widget) return { node: target, input }
  }
  return undefined
}

/** The type of a node in its graph: that of a primitive is made of what it is linked to. */
export function defIn(doc: Document, node: Node, definitions: Definitions): NodeDef | undefined {
  if (!isPrimitive(node)) return defFor(definitions.get(node.type), node)
  const target = targetOf(doc, node, definitions)
  return target && primitiveFor(target.input)
}

/** Gives primitives their values by name; one that has just been linked takes over the value of the field. */
export function bindPrimitives(doc: Document, definitions: Definitions): Document {
  let next = doc
  for (const node of doc.nodes.values()) {
    if (!isPrimitive(node) || node.layout !== null) continue
    const target = targetOf(doc, node, definitions)
    if (!target) continue
    const def = primitiveFor(target.input)
    const list = node.raw.widgets_values
    if (isArray(list) && list.length) {
      next = withNode(next, bindValues(node, def))
      continue
    }
    const values = { value: valueOf(target.node, target.input), ...(def.inputs[0]?.control === 'none' ? {} : { [controlOf('value')]: 'fixed' }) }
    const outputs = slots(node.raw.outputs).map((slot, at) => (at === 0 ? { ...slot, name: target.input.type, type: target.input.type, widget: { name: target.input.name } } : slot))
    next = withNode(next, { ...setRaw(node, { outputs }), values, given: {}, layout: layoutOf(def) })
  }
  return next
}
