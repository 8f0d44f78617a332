/** The inside of a subgraph as a document of its own, and back into the file that defines it.
 *  Its two ends, -10 and -20, are nodes there: what comes in and what goes out are their sockets. */
import { isArray, isObject, sameJson, toNumber, toText, type Json, type JsonObject } from '../io/json'
import { readLink } from '../io/parts'
import { readUi, writeUi } from '../io/ui'
import { layoutOf } from '../io/widgets'
import type { Definitions } from './definitions'
import { slots, subgraphsOf, TITLE_HEIGHT, type Document, type Link, type Node, type Point } from './document'
import { removeLinks, setRaw, withNode } from './edit'
import { isGroupNode } from './groupNodes'
import { INPUT_NODE, known, OUTPUT_NODE } from './library'

export const isEnd = (id: string): boolean => id === INPUT_NODE || id === OUTPUT_NODE

const opened = new WeakMap<object, { readonly types: Definitions; readonly docs: Map<string, Document> }>()

function cacheOf(library: object, types: Definitions): Map<string, Document> {
  const kept = opened.get(library)
  if (kept?.types === types) return kept.docs
  const docs = new Map<string, Document>()
  opened.set(library, { types, docs })
  return docs
}

/** The inside of a subgraph; null where the file defines none of that id. */
export function openSubgraph(root: Document, id: string, server: Definitions): Document | null {
  const library = root.file.definitions
  const raw = subgraphsOf(root.file).get(id)?.raw
  if (!isObject(library) || !raw) return null
  const docs = cacheOf(library, known(server, root.file))
  const kept = docs.get(id)
  if (kept) return kept
  const doc = readUi({ ...raw, definitions: library }, server)
  const nodes = new Map(doc.nodes)
  for (const end of [endNode(doc, raw, INPUT_NODE), endNode(doc, raw, OUTPUT_NODE)]) nodes.set(end.id, end)
  const made = { ...doc, nodes }
  docs.set(id, made)
  return made
}

/** Whether a node of this type is, or has in it, the subgraph `id`: it may not go into that one. */
export function holds(file: JsonObject, type: string, id: string, depth = 0): boolean {
  const raw = subgraphsOf(file).get(type)?.raw
  return type === id || (depth < 50 && raw !== undefined && slots(raw.nodes).some((node) => holds(file, toText(node.type), id, depth + 1)))
}

/** The node that the server calls so: `12:3` is node 3 in the subgraph that node 12 stands for. */
export function nodeAt(root: Document, id: string, server: Definitions): Node | undefined {
  const kept = root.nodes.get(id)
  return kept ?? graphOf(root, id, server)?.doc.nodes.get(id.split(':').at(-1) ?? '')
}

/** The graph that the node called so is in, and the subgraph's id; that of `root` itself is empty. */
export function graphOf(root: Document, id: string, server: Definitions): { readonly doc: Document; readonly subgraph: string } | null {
  let doc: Document | null = root
  let subgraph = ''
  for (const step of id.split(':').slice(0, -1)) {
    const instance: Node | undefined = doc?.nodes.get(step)
    subgraph = instance?.type ?? ''
    doc = instance ? openSubgraph(root, subgraph, server) : null
  }
  return doc && { doc, subgraph }
}

function endNode(doc: Document, raw: JsonObject, id: string): Node {
  const isInput = id === INPUT_NODE
  const holder = isInput ? raw.inputNode : raw.outputNode
  const box = isObject(holder) && isArray(holder.bounding) ? holder.bounding.map((side) => toNumber(side)) : []
  const links = [...doc.links.values()]
  const ends: Json[] = slots(isInput ? raw.inputs : raw.outputs).map((slot, at) => {
    const ids = links.filter((link) => (isInput ? link.from === id && link.fromSlot === at : link.to === id && link.toSlot === at)).map((link) => toNumber(link.id))
    return isInput ? { ...slot, links: ids } : { ...slot, link: ids[0] ?? null }
  })
  const pos: Point = [box[0] ?? 0, (box[1] ?? 0) + TITLE_HEIGHT]
  const size: Point = [Math.max(box[2] ?? 0, 120), Math.max((box[3] ?? 0) - TITLE_HEIGHT, 40)]
  const values = {}
  return { id, type: id, raw: { id: Number(id), type: id, pos: [...pos], size: [...size], ...(isInput ? { outputs: ends } : { inputs: ends }) }, pos, size, values, given: values, layout: null }
}

/** The file with the inside of one of its subgraphs changed. Instances everywhere follow: links to sockets that are gone
 *  go, numbers of outputs move up, and promoted values are put at their new places. */
export function putSubgraph(root: Document, id: string, inner: Document, server: Definitions): Document {
  const before = subgraphsOf(root.file).get(id)?.raw
  if (!before) return root
  const raw = writeInside(inner, before, server)
  const added = [...subgraphsOf(inner.file)].filter(([other]) => !subgraphsOf(root.file).has(other)).map(([, subgraph]) => subgraph.raw)
  let next: Document = { ...root, file: withLibrary(root.file, replaced(root.file, id, raw), added) }
  const library = next.file.definitions as JsonObject
  cacheOf(library, known(server, next.file)).set(id, { ...inner, file: { ...inner.file, definitions: library } })
  if (!isGroupNode(before) && sameFace(before, raw, known(server, root.file).get(id)?.inputs, known(server, next.file).get(id)?.inputs)) return next
  next = fitInstances(next, id, before, raw, server)
  for (const [other, subgraph] of subgraphsOf(next.file)) {
    if (other === id || !slots(subgraph.raw.nodes).some((node) => node.type === id)) continue
    const outside = openSubgraph(next, other, server)
    if (outside) next = putSubgraph(next, other, fitInstances(outside, id, before, raw, server), server)
  }
  return next
}

/** The same edit in the workflow and inside each of its subgraphs; `place` is the subgraph's id. */
export function editEverywhere(root: Document, server: Definitions, edit: (doc: Document, place: string) => Document): Document {
  let next = edit(root, '')
  for (const id of subgraphsOf(root.file).keys()) {
    const inner = openSubgraph(next, id, server)
    const edited = inner && edit(inner, id)
    if (edited && edited !== inner) next = putSubgraph(next, id, edited, server)
  }
  return next
}

function writeInside(inner: Document, before: JsonObject, server: Definitions): JsonObject {
  const nodes = new Map([...inner.nodes].filter(([id]) => !isEnd(id)))
  const { definitions: _, ...written } = writeUi({ ...inner, nodes }, server) as Record<string, Json>
  const put = (key: string, value: Json | undefined): void => {
    if (value === undefined) delete written[key]
    else written[key] = value
  }
  const was = (isArray(before.links) ? before.links : []).flatMap((raw) => readLink(raw) ?? [])
  const ends = (id: string, list: 'inputs' | 'outputs', place: 'inputNode' | 'outputNode'): void => {
    const node = inner.nodes.get(id)
    if (!node) return
    const old = slots(before[list])
    const at = (links: Iterable<Link>, slot: number): number[] => [...links].filter((link) => (id === INPUT_NODE ? link.from === id && link.fromSlot === slot : link.to === id && link.toSlot === slot)).map((link) => toNumber(link.id))
    const made = slots(id === INPUT_NODE ? node.raw.outputs : node.raw.inputs).map((slot, number) => {
      const { links: _links, link: _link, ...kept } = slot
      const { control: _, ...plain } = kept
      const bare: JsonObject = isGroupNode(before) ? plain : kept
      const ids = at(inner.links.values(), number)
      // lists of files may be stale or say things twice: the links decide, and a list stays as it is until they change
      const held = old.findIndex((each) => keyOf(each) === keyOf(bare))
      const same = isArray(bare.linkIds) && (sameJson(at(was, held), ids) || (bare.linkIds.length === ids.length && ids.every((each) => (bare.linkIds as readonly Json[]).some((had) => toNumber(had) === each))))
      const end: JsonObject = same ? bare : { ...bare, linkIds: ids }
      return old.find((each) => sameJson(each, end)) ?? end
    })
    put(list, made.length !== old.length || made.some((end, number) => end !== old[number]) ? made : before[list])
    const held = isObject(before[place]) ? before[place] : { id: Number(id) }
    const box = isArray(held.bounding) ? held.bounding : [0, 0, 120, 60]
    const moved = node.pos[0] !== toNumber(box[0]) || node.pos[1] !== toNumber(box[1]) + TITLE_HEIGHT
    put(place, moved ? { ...held, bounding: [node.pos[0], node.pos[1] - TITLE_HEIGHT, box[2] ?? 120, box[3] ?? 60] } : before[place])
  }
  ends(INPUT_NODE, 'inputs', 'inputNode')
  ends(OUTPUT_NODE, 'outputs', 'outputNode')
  return 'definitions' in before ? { ...written, definitions: before.definitions as Json } : written
}

/** The list of subgraphs of a file or of a subgraph, one of them replaced wherever it is. */
function replaced(holder: JsonObject, id: string, raw: JsonObject): JsonObject | undefined {
  const held = holder.definitions
  if (!isObject(held) || !isArray(held.subgraphs)) return undefined
  const list = held.subgraphs.map((each) => {
    if (!isObject(each)) return each
    if (toText(each.id) === id) return raw
    const inside = replaced(each, id, raw)
    return inside && inside !== each.definitions ? { ...each, definitions: inside } : each
  })
  return list.every((each, at) => each === (held.subgraphs as readonly Json[])[at]) ? held : { ...held, subgraphs: list }
}

export function withLibrary(file: JsonObject, library: JsonObject | undefined, added: readonly JsonObject[]): JsonObject {
  const held = library ?? {}
  const list = isArray(held.subgraphs) ? held.subgraphs : []
  return { ...file, definitions: added.length ? { ...held, subgraphs: [...list, ...added] } : held }
}

type Face = readonly { readonly name: string; readonly widget: unknown }[] | undefined

function sameFace(before: JsonObject, after: JsonObject, wasIn: Face, isIn: Face): boolean {
  const face = (raw: JsonObject): string => JSON.stringify([slots(raw.inputs), slots(raw.outputs)].map((side) => side.map((slot) => [slot.id, slot.name, slot.type])))
  const fields = (inputs: Face): string => (inputs ?? []).filter((input) => input.widget).map((input) => input.name).join('\u0000')
  return face(before) === face(after) && fields(wasIn) === fields(isIn)
}

const keyOf = (slot: JsonObject): string => toText(slot.id) || toText(slot.name)

function fitInstances(doc: Document, id: string, before: JsonObject, after: JsonObject, server: Definitions): Document {
  const def = known(server, doc.file).get(id)
  const gone = slots(before.inputs).filter((slot) => !slots(after.inputs).some((each) => keyOf(each) === keyOf(slot))).map((slot) => toText(slot.name))
  const places = slots(before.outputs).map((slot) => slots(after.outputs).findIndex((each) => keyOf(each) === keyOf(slot)))
  let next = doc
  for (const node of doc.nodes.values()) {
    if (node.type !== id) continue
    next = gone.reduce((held, name) => dropInput(held, node.id, name), next)
    next = renumberOutputs(next, node.id, places, slots(after.outputs))
    const now = next.nodes.get(node.id) as Node
    if (def) next = withNode(next, { ...now, values: { ...now.values }, layout: layoutOf(def) })
  }
  return next
}

/** Takes a socket off a node, with its link; later links are told their new numbers. */
export function dropInput(doc: Document, id: string, name: string): Document {
  const node = doc.nodes.get(id)
  const at = node ? slots(node.raw.inputs).findIndex((slot) => slot.name === name) : -1
  if (!node || at < 0) return doc
  const link = slots(node.raw.inputs)[at]?.link
  const cut = link === null || link === undefined ? doc : removeLinks(doc, [String(link)])
  const held = cut.nodes.get(id) as Node
  const next = withNode(cut, setRaw(held, { inputs: slots(held.raw.inputs).filter((_, slot) => slot !== at) }))
  return renumber(next, (each) => (each.to === id && each.toSlot > at ? { toSlot: each.toSlot - 1 } : null))
}

function renumberOutputs(doc: Document, id: string, places: readonly number[], defined: readonly JsonObject[]): Document {
  if (places.every((place, at) => place === at)) return doc
  const gone = [...doc.links.values()].filter((link) => link.from === id && places[link.fromSlot] === -1).map((link) => link.id)
  const cut = removeLinks(doc, gone)
  const node = cut.nodes.get(id) as Node
  const outputs: JsonObject[] = []
  slots(node.raw.outputs).forEach((slot, at) => {
    const place = places[at] ?? at
    if (place >= 0) outputs[place] = slot
  })
  const filled = Array.from(outputs, (slot, at): JsonObject => slot ?? { name: toText(defined[at]?.name), type: toText(defined[at]?.type, '*'), links: [] })
  const next = withNode(cut, setRaw(node, { outputs: filled }))
  return renumber(next, (link) => (link.from === id && places[link.fromSlot] !== undefined && places[link.fromSlot] !== link.fromSlot ? { fromSlot: places[link.fromSlot] as number } : null))
}

/** Links with other slot numbers, in their raw form too. */
export function renumber(doc: Document, change: (link: Document['links'] extends ReadonlyMap<string, infer L> ? L : never) => { fromSlot?: number; toSlot?: number } | null): Document {
  const links = new Map(doc.links)
  for (const link of doc.links.values()) {
    const made = change(link)
    if (!made) continue
    const { raw } = link
    const fromSlot = made.fromSlot ?? link.fromSlot
    const toSlot = made.toSlot ?? link.toSlot
    links.set(link.id, { ...link, fromSlot, toSlot, raw: isObject(raw) ? { ...raw, origin_slot: fromSlot, target_slot: toSlot } : isArray(raw) ? raw.map((each, at) => (at === 2 ? fromSlot : at === 4 ? toSlot : each)) : raw })
  }
  return { ...doc, links }
}
