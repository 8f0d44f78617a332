/** From the API format to a document: values are by name, places are made by the layout. */
import type { Definitions } from '../model/definitions'
import type { Document, Node, Point } from '../model/document'
import { connect, makeNode, setRaw } from '../model/edit'
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from './json'
import { EMPTY_FILE, readUi } from './ui'
import { controlOf } from './widgets'

export function readApi(file: JsonObject, definitions: Definitions, sizeOf: (type: string) => Point, arrange: (doc: Document) => Document): Document {
  const empty = readUi(EMPTY_FILE, definitions)
  const nodes = new Map<string, Node>()
  const entries = Object.entries(file).filter((pair): pair is [string, JsonObject] => isObject(pair[1]))
  for (const [id, entry] of entries) nodes.set(id, placeholder(id, entry, definitions, sizeOf))
  let doc: Document = { ...empty, nodes }
  for (const [id, entry] of entries) {
    for (const [input, value] of Object.entries(isObject(entry.inputs) ? entry.inputs : {})) {
      if (!isLink(value) || !nodes.has(String(value[0]))) continue
      const from = String(value[0])
      const fromSlot = toNumber(value[1])
      const source = nodes.get(from)
      const type = definitions.get(source?.type ?? '')?.outputs[fromSlot]?.type ?? '*'
      doc = connect(doc, { from, fromSlot, to: id, input }, definitions.get(nodes.get(id)?.type ?? ''), type)
    }
  }
  return arrange(doc)
}

function isLink(value: Json): value is readonly [Json, Json] {
  return isArray(value) && value.length === 2 && (typeof value[0] === 'string' || typeof value[0] === 'number') && typeof value[1] === 'number'
}

function placeholder(id: string, entry: JsonObject, definitions: Definitions, sizeOf: (type: string) => Point): Node {
  const type = toText(entry.class_type)
  const def = definitions.get(type) ?? { type, title: type, category: '', description: '', pack: '', inputs: [], outputs: [], isTerminal: false, isDeprecated: false, isExperimental: false }
  let node = makeNode(0, def, [0, 0], sizeOf(type))
  node = { ...setRaw(node, { id: /^\d+$/.test(id) ? Number(id) : id }), id }
  const title = isObject(entry._meta) ? toText(entry._meta.title) : ''
  if (title && title !== def.title) node = setRaw(node, { title })
  const values: Record<string, Json> = { ...node.values }
  for (const [name, given] of Object.entries(isObject(entry.inputs) ? entry.inputs : {})) {
    if (isLink(given)) continue
    values[name] = isObject(given) && '__value__' in given ? (given.__value__ as Json) : given
    if (controlOf(name) in values) values[controlOf(name)] = 'fixed'
  }
  return { ...node, values, layout: definitions.has(type) ? node.layout : 'object' }
}
