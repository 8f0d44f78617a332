/** The node types that a file can use: the server's, and one for every subgraph that the file defines. */
import { isArray, isObject, toText, type JsonObject } from '../io/json'
import { readLink, readNode } from '../io/parts'
import { bindValues, valueOf } from '../io/widgets'
import { inputOf, type Definitions, type InputDef, type NodeDef } from './definitions'
import { inputAt, slots, subgraphsOf, type Subgraph } from './document'

export const INPUT_NODE = '-10'
export const OUTPUT_NODE = '-20'

interface Made {
  readonly server: Definitions
  readonly inner: readonly (readonly [string, NodeDef | undefined])[]
  readonly def: NodeDef
}

const made = new WeakMap<JsonObject, Made>()
const libraries = new WeakMap<object, { readonly server: Definitions; readonly known: Definitions }>()

/** The server's types and those of the file. The same object as long as both are the same. */
export function known(server: Definitions, file: JsonObject): Definitions {
  const held = file.definitions
  if (!isObject(held)) return server
  const kept = libraries.get(held)
  if (kept && (kept.server === server || kept.known === server)) return kept.known
  const subgraphs = subgraphsOf(file)
  const all = new Map(server)
  const resolve = (type: string, above: readonly string[]): NodeDef | undefined => {
    const subgraph = subgraphs.get(type)
    if (!subgraph) return server.get(type)
    if (above.includes(type)) return undefined // a subgraph that holds itself
    const before = made.get(subgraph.raw)
    const inside = (inner: string): NodeDef | undefined => resolve(inner, [...above, type])
    if (before?.server === server && before.inner.every(([inner, def]) => inside(inner) === def)) return before.def
    const used = new Map<string, NodeDef | undefined>()
    const def = define(subgraph, (inner) => {
      if (!used.has(inner)) used.set(inner, inside(inner))
      return used.get(inner)
    })
    made.set(subgraph.raw, { server, inner: [...used], def })
    return def
  }
  for (const id of subgraphs.keys()) {
    const def = resolve(id, [])
    if (def) all.set(id, def)
  }
  libraries.set(held, { server, known: all })
  return all
}

function define(subgraph: Subgraph, resolve: (type: string) => NodeDef | undefined): NodeDef {
  const { raw } = subgraph
  const links = (isArray(raw.links) ? raw.links : []).flatMap((each) => readLink(each) ?? [])
  const nodes = new Map((isArray(raw.nodes) ? raw.nodes : []).filter(isObject).map((each) => [String(each.id), each]))
  const inputs = slots(raw.inputs).map((slot, at): InputDef => {
    const name = toText(slot.name)
    const plain: InputDef = { name, type: toText(slot.type, '*') || '*', widget: null, optional: true, options: {}, choices: [], isForced: false, control: 'none', upload: false, tooltip: '' }
    for (const link of links) {
      if (link.from !== INPUT_NODE || link.fromSlot !== at) continue
      const target = nodes.get(link.to)
      if (!target) continue
      const node = readNode(target)
      const def = resolve(node.type)
      const input = inputOf(def, inputAt(node, link.toSlot))
      // only group nodes say that they have a control word; a value of the instance stands for the field inside, which is also what it is without one
      if (def && input?.widget) {
        const within = input.within ? { node: `${node.id}:${input.within.node}`, input: input.within.input } : input.control === 'none' ? undefined : { node: node.id, input }
        const control = slot.control === 'seed' || slot.control === 'combo' ? slot.control : 'none'
        return { ...input, name, optional: true, control, upload: false, options: { ...input.options, default: valueOf(bindValues(node, def), input) }, ...(within && control === 'none' ? { within } : {}) }
      }
    }
    return plain
  })
  const outputs = slots(raw.outputs).map((slot) => ({ name: toText(slot.name), type: toText(slot.type, '*') || '*', tooltip: '' }))
  return { type: subgraph.id, title: subgraph.name, category: '', description: '', pack: '', inputs, outputs, isTerminal: false, isDeprecated: false, isExperimental: false }
}
