/** Fields of inner nodes that a subgraph's instance shows as its own (`properties.proxyWidgets`). Their values live in
 *  the inner nodes, so all instances of the subgraph have the same. */
import { isArray, isObject } from '../io/json'
import { inputOf, type Definitions, type InputDef } from './definitions'
import { inputsOf, titleOf, type Document, type Node } from './document'
import { openSubgraph } from './subgraphs'
import { known } from './library'
import { defFor } from './varying'

export interface ProxyField {
  /** The inner node, by the name that it has outside: `12:3`. */
  readonly node: Node
  readonly input: InputDef
  readonly label: string
  readonly linked: boolean
}

/** In the file's order; those that are not there any more, and previews, are left out. */
export function proxyFields(doc: Document, node: Node, server: Definitions): ProxyField[] {
  const asked = isObject(node.raw.properties) ? node.raw.properties.proxyWidgets : undefined
  const inner = isArray(asked) ? openSubgraph(doc, node.type, server) : null
  if (!inner || !isArray(asked)) return []
  const types = known(server, doc.file)
  const found = asked.flatMap((each): ProxyField[] => {
    if (!isArray(each)) return []
    const [id, name] = each.map(String)
    const held = inner.nodes.get(id ?? '')
    const input = held && inputOf(defFor(types.get(held.type), held), name ?? '')
    if (!held || !input?.widget) return []
    const linked = inputsOf(held).some((slot) => slot.name === name && slot.link !== null)
    return [{ node: { ...held, id: `${node.id}:${held.id}` }, input, label: input.name, linked }]
  })
  const named = (field: ProxyField): string => titleOf(field.node) || types.get(field.node.type)?.title || field.node.type
  const isTwice = (field: ProxyField): boolean => found.filter((other) => other.input.name === field.input.name).length > 1
  return found.map((field) => (isTwice(field) ? { ...field, label: `${named(field)}: ${field.label}` } : field))
}
