/** Edits of nodes and links: each takes a document and gives another. */
import { nextIds } from './ids'
import { isArray, isObject, type Json, type JsonObject } from '../io/json'
import { freshValues } from '../io/widgets'
import { BUILTIN } from './builtin'
import { inputOf, type NodeDef } from './definitions'
import { forgetLinks } from './reroutes'
import { linkInto, slots, type Document, type Group, type Link, type Node, type Point } from './document'
import { defFor } from './varying'

export function withNode(doc: Document, node: Node): Document {
  if (doc.nodes.get(node.id) === node) return doc
  return { ...doc, nodes: new Map(doc.nodes).set(node.id, node) }
}

function withNodes(doc: Document, change: ReadonlyMap<string, Node>): Document {
  if (!change.size) return doc
  const nodes = new Map(doc.nodes)
  for (const [id, node] of change) nodes.set(id, node)
  return { ...doc, nodes }
}

export function setRaw(node: Node, fields: Readonly<Record<string, Json | undefined>>): Node {
  const raw: Record<string, Json> = { ...node.raw }
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) delete raw[key]
    else raw[key] = value
  }
  return { ...node, raw }
}

export function moveNodes(doc: Document, places: ReadonlyMap<string, Point>): Document {
  const moved = new Map<string, Node>()
  for (const [id, pos] of places) {
    const node = doc.nodes.get(id)
    if (!node || (node.pos[0] === pos[0] && node.pos[1] === pos[1])) continue
    moved.set(id, { ...setRaw(node, { pos: isObject(node.raw.pos) ? { 0: pos[0], 1: pos[1] } : [pos[0], pos[1]] }), pos })
  }
  return withNodes(doc, moved)
}

export function resizeNode(doc: Document, id: string, size: Point, pos?: Point): Document {
  const node = doc.nodes.get(id)
  if (!node) return doc
  const sized = { ...setRaw(node, { size: isObject(node.raw.size) ? { 0: size[0], 1: size[1] } : [size[0], size[1]] }), size }
  const next = withNode(doc, sized)
  return pos ? moveNodes(next, new Map([[id, pos]])) : next
}

export function setValue(doc: Document, id: string, name: string, value: Json): Document {
  const node = doc.nodes.get(id)
  if (!node || node.values[name] === value) return doc
  return withNode(doc, { ...node, values: { ...node.values, [name]: value } })
}

export function setMode(doc: Document, ids: Iterable<string>, mode: number): Document {
  return change(doc, ids, (node) => setRaw(node, { mode }))
}

export function setFlag(doc: Document, ids: Iterable<string>, flag: string, on: boolean): Document {
  return change(doc, ids, (node) => {
    const flags: Record<string, Json> = { ...(isObject(node.raw.flags) ? node.raw.flags : {}) }
    if (on) flags[flag] = true
    else delete flags[flag]
    return setRaw(node, { flags })
  })
}

export function rename(doc: Document, id: string, title: string): Document {
  return change(doc, [id], (node) => setRaw(node, { title: title || undefined }))
}

export function setColor(doc: Document, ids: Iterable<string>, color: string | undefined, bgcolor: string | undefined): Document {
  return change(doc, ids, (node) => setRaw(node, { color, bgcolor }))
}

function change(doc: Document, ids: Iterable<string>, edit: (node: Node) => Node): Document {
  const changed = new Map<string, Node>()
  for (const id of ids) {
    const node = doc.nodes.get(id)
    if (node) changed.set(id, edit(node))
  }
  return withNodes(doc, changed)
}

/** A node of a known type, not yet in any document. */
export function makeNode(id: number, def: NodeDef, pos: Point, size: Point): Node {
  const isBuiltin = BUILTIN.has(def.type)
  const fresh = freshValues(def)
  const values = isBuiltin ? {} : fresh.values
  const shown = defFor(def, { raw: {}, values }) ?? def
  const inputs: Json[] = shown.inputs.filter((input) => !input.widget).map((input) => ({ name: input.name, type: input.type, link: null, ...(input.optional ? { shape: 7 } : {}) }))
  const outputs: Json[] = def.outputs.map((output) => ({ name: output.name, type: output.type, links: [] }))
  const raw: JsonObject = {
    id,
    type: def.type,
    pos: [pos[0], pos[1]],
    size: [size[0], size[1]],
    flags: {},
    order: 0,
    mode: 0,
    inputs,
    outputs,
    properties: { 'Node name for S&R': def.type },
    widgets_values: def.type.endsWith('Note') && isBuiltin ? [''] : [],
  }
  return { id: String(id), type: def.type, raw, pos, size, values, given: isBuiltin ? values : {}, layout: isBuiltin ? null : fresh.layout }
}

const CASCADE = 32
const NEAR = 12

/** How far new nodes have to move, right and down, for none of them to hide one that is there: copies cascade. */
export function cascade(doc: Document, places: readonly Point[]): number {
  const held = [...doc.nodes.values()].map((node) => node.pos)
  const hides = (by: number): boolean => places.some(([x, y]) => held.some((pos) => Math.abs(pos[0] - x - by) < NEAR && Math.abs(pos[1] - y - by) < NEAR))
  let by = 0
  while (hides(by)) by += CASCADE
  return by
}

export function addNode(doc: Document, def: NodeDef, at: Point, size: Point): { doc: Document; id: string } {
  const by = cascade(doc, [at])
  const pos: Point = [at[0] + by, at[1] + by]
  const node = makeNode(nextIds(doc).node, def, pos, size)
  return { doc: withNode(doc, node), id: node.id }
}

export function removeNodes(doc: Document, ids: ReadonlySet<string>): Document {
  const doomed = [...doc.links.values()].filter((link) => ids.has(link.from) || ids.has(link.to))
  const next = removeLinks(doc, doomed.map((link) => link.id))
  const nodes = new Map(next.nodes)
  let removed = false
  for (const id of ids) removed = nodes.delete(id) || removed
  return removed ? { ...next, nodes } : next
}

export function removeLinks(doc: Document, ids: readonly string[]): Document {
  const links = new Map(doc.links)
  const nodes = new Map(doc.nodes)
  let removed = false
  for (const id of ids) {
    const link = links.get(id)
    if (!link) continue
    removed = links.delete(id) || removed
    const target = nodes.get(link.to)
    if (target) nodes.set(target.id, setRaw(target, { inputs: slots(target.raw.inputs).map((slot) => (String(slot.link) === id ? { ...slot, link: null } : slot)) }))
    const source = nodes.get(link.from)
    if (source) nodes.set(source.id, setRaw(source, { outputs: withoutLink(source.raw.outputs, id) }))
  }
  return removed ? forgetLinks({ ...doc, links, nodes }, new Set(ids)) : doc
}

function withoutLink(outputs: Json | undefined, id: string): Json {
  return slots(outputs).map((slot) => (isArray(slot.links) && slot.links.some((link) => String(link) === id) ? { ...slot, links: slot.links.filter((link) => String(link) !== id) } : slot))
}

/** A number in a file that is beyond this is no slot. */
const MOST_SLOTS = 1000

export interface Ends {
  readonly from: string
  readonly fromSlot: number
  readonly to: string
  readonly input: string
}

/** Joins an output to an input; a link that was there goes, in the same step. */
export function connect(doc: Document, ends: Ends, def: NodeDef | undefined, fromType: string): Document {
  const { node: _, link: id } = nextIds(doc)
  let next = doc
  const before = doc.nodes.get(ends.to)
  if (!before || !doc.nodes.has(ends.from) || !(Number.isInteger(ends.fromSlot) && ends.fromSlot >= 0 && ends.fromSlot < MOST_SLOTS)) return doc
  const old = linkInto(doc, before, ends.input)
  if (old) {
    if (old.from === ends.from && old.fromSlot === ends.fromSlot) return doc
    next = removeLinks(next, [old.id])
  }
  const target = next.nodes.get(ends.to) as Node
  const inputs = slots(target.raw.inputs)
  let slot = inputs.findIndex((each) => each.name === ends.input)
  if (slot < 0) {
    const input = inputOf(defFor(def, target), ends.input)
    inputs.push({ name: ends.input, type: input?.type ?? fromType, ...(input?.widget ? { widget: { name: ends.input } } : {}), link: null })
    slot = inputs.length - 1
  }
  inputs[slot] = { ...inputs[slot], link: id }
  next = withNode(next, setRaw(target, { inputs }))
  const source = next.nodes.get(ends.from) as Node
  const outputs = slots(source.raw.outputs)
  while (outputs.length <= ends.fromSlot) outputs.push({ name: fromType, type: fromType, links: [] })
  const output = outputs[ends.fromSlot] as JsonObject
  outputs[ends.fromSlot] = { ...output, links: [...(isArray(output.links) ? output.links : []), id] }
  next = withNode(next, setRaw(source, { outputs }))
  const link = makeLink(doc, id, ends.from, ends.fromSlot, ends.to, slot, fromType)
  return { ...next, links: new Map(next.links).set(link.id, link) }
}

/** A link in the form that this file uses for links. */
export function makeLink(doc: Document, id: number, from: string, fromSlot: number, to: string, toSlot: number, type: string): Link {
  const idOf = (node: string): Json => (doc.nodes.get(node)?.raw.id as Json | undefined) ?? (/^\d+$/.test(node) ? Number(node) : node)
  const sample = isArray(doc.file.links) ? doc.file.links.find((each) => each !== null) : undefined
  const asObject = sample === undefined ? doc.file.version === 1 : isObject(sample)
  const raw: Json = asObject
    ? { id, origin_id: idOf(from), origin_slot: fromSlot, target_id: idOf(to), target_slot: toSlot, type }
    : [id, idOf(from), fromSlot, idOf(to), toSlot, type]
  return { id: String(id), from, fromSlot, to, toSlot, type, raw }
}

export function setGroup(doc: Document, index: number, fields: { title?: string; box?: Group['box']; color?: string }): Document {
  const groups = doc.groups.map((group, at) => {
    if (at !== index) return group
    const raw: Record<string, Json> = { ...group.raw }
    if (fields.title !== undefined) raw.title = fields.title
    if (fields.box) raw.bounding = [...fields.box]
    if (fields.color !== undefined) raw.color = fields.color
    return { ...group, ...fields, raw }
  })
  return { ...doc, groups }
}

export function addGroup(doc: Document, title: string, box: Group['box'], color: string): Document {
  const raw: JsonObject = { title, bounding: [...box], color, font_size: 24, flags: {} }
  return { ...doc, groups: [...doc.groups, { raw, title, box, color }] }
}

export function removeGroup(doc: Document, index: number): Document {
  return { ...doc, groups: doc.groups.filter((_, at) => at !== index) }
}
