/** Points that a link runs through. They live in the file: `extra.reroutes` and `extra.linkExtensions` in 0.4,
 *  `reroutes` and the links' own `parentId` in 1 and in subgraphs. A point may carry several links. */
import { isArray, isObject, toNumber, type Json, type JsonObject } from '../io/json'
import { pointOf, type Document, type Link, type Point } from './document'

export interface Reroute {
  readonly id: string
  /** The point before it, towards the output; null where there is none. */
  readonly parent: string | null
  readonly pos: Point
  readonly links: readonly string[]
}

const EMPTY: ReadonlyMap<string, Reroute> = new Map()
const read = new WeakMap<object, ReadonlyMap<string, Reroute>>()
const extensions = new WeakMap<object, ReadonlyMap<string, string | null>>()

const isTop = (doc: Document): boolean => isArray(doc.file.reroutes) || doc.file.version === 1
const extraOf = (doc: Document): JsonObject => (isObject(doc.file.extra) ? doc.file.extra : {})
const listOf = (doc: Document): readonly Json[] => {
  const list = isTop(doc) ? doc.file.reroutes : extraOf(doc).reroutes
  return isArray(list) ? list : []
}
const idOf = (given: Json | undefined): string | null => (given === undefined || given === null ? null : String(given))

export function reroutesOf(doc: Document): ReadonlyMap<string, Reroute> {
  const list = listOf(doc)
  if (!list.length) return EMPTY
  const kept = read.get(list)
  if (kept) return kept
  const found = new Map<string, Reroute>()
  for (const raw of list) {
    if (!isObject(raw)) continue
    const id = idOf(raw.id)
    if (id !== null) found.set(id, { id, parent: idOf(raw.parentId), pos: pointOf(raw.pos) ?? [0, 0], links: (isArray(raw.linkIds) ? raw.linkIds : []).map(String) })
  }
  read.set(list, found)
  return found
}

function parentOf(doc: Document, link: Link): string | null {
  if (isObject(link.raw) && link.raw.parentId !== undefined) return idOf(link.raw.parentId)
  const list = extraOf(doc).linkExtensions
  if (!isArray(list)) return null
  let parents = extensions.get(list)
  if (!parents) {
    parents = new Map(list.filter(isObject).map((each) => [String(each.id), idOf(each.parentId)]))
    extensions.set(list, parents)
  }
  return parents.get(link.id) ?? null
}

/** The points of a link, from its output to its input. */
export function chainOf(doc: Document, link: Link): Reroute[] {
  const all = reroutesOf(doc)
  if (!all.size) return []
  const chain: Reroute[] = []
  for (let id = parentOf(doc, link); id !== null && chain.length < all.size; ) {
    const point = all.get(id)
    if (!point) break
    chain.unshift(point)
    id = point.parent
  }
  return chain
}

/** The file with its list of points changed. */
function withList(doc: Document, list: readonly Json[]): Document {
  if (isTop(doc)) return { ...doc, file: { ...doc.file, reroutes: list } }
  return { ...doc, file: { ...doc.file, extra: { ...extraOf(doc), reroutes: list } } }
}

function edited(doc: Document, change: (raw: JsonObject, id: string) => JsonObject | null): Document {
  const list = listOf(doc)
  const next = list.flatMap((raw) => {
    const id = isObject(raw) ? idOf(raw.id) : null
    if (!isObject(raw) || id === null) return [raw]
    const made = change(raw, id)
    return made ? [made] : []
  })
  return next.length === list.length && next.every((raw, at) => raw === list[at]) ? doc : withList(doc, next)
}

function setParent(doc: Document, link: Link, parent: Json | undefined): Document {
  if (isObject(link.raw)) {
    const { parentId: _, ...rest } = link.raw
    const raw: JsonObject = parent === undefined ? rest : { ...rest, parentId: parent }
    return { ...doc, links: new Map(doc.links).set(link.id, { ...link, raw }) }
  }
  const extra = extraOf(doc)
  const others = (isArray(extra.linkExtensions) ? extra.linkExtensions : []).filter((each) => !isObject(each) || String(each.id) !== link.id)
  const id = isArray(link.raw) ? (link.raw[0] as Json) : Number(link.id)
  return { ...doc, file: { ...doc.file, extra: { ...extra, linkExtensions: parent === undefined ? others : [...others, { id, parentId: parent }] } } }
}

function nextId(doc: Document): number {
  const state = isObject(doc.file.state) ? toNumber(doc.file.state.lastRerouteId) : 0
  return Math.max(state, 0, ...[...reroutesOf(doc).keys()].map((id) => toNumber(id))) + 1
}

/** Puts a point on a link, `after` so many of its points. Links that share the points behind it run through it too. */
export function addReroute(doc: Document, linkId: string, pos: Point, after: number): Document {
  const link = doc.links.get(linkId)
  if (!link) return doc
  const chain = chainOf(doc, link)
  const before = chain[after - 1]
  const behind = chain[after]
  const id = nextId(doc)
  const carried = behind ? behind.links : [link.id]
  const raw: JsonObject = { id, ...(before ? { parentId: Number(before.id) } : {}), pos: [Math.round(pos[0]), Math.round(pos[1])], linkIds: carried.map((each) => (/^\d+$/.test(each) ? Number(each) : each)) }
  const added = withList(doc, [...listOf(doc), raw])
  const next = isObject(doc.file.state) ? { ...added, file: { ...added.file, state: { ...doc.file.state, lastRerouteId: id } } } : added
  return behind ? edited(next, (each, held) => (held === behind.id ? { ...each, parentId: id } : each)) : setParent(next, link, id)
}

export function moveReroutes(doc: Document, places: ReadonlyMap<string, Point>): Document {
  return edited(doc, (raw, id) => {
    const pos = places.get(id)
    const old = pointOf(raw.pos)
    return pos && (old?.[0] !== pos[0] || old[1] !== pos[1]) ? { ...raw, pos: [pos[0], pos[1]] } : raw
  })
}

/** Takes points out; their links run on without them. */
export function removeReroutes(doc: Document, ids: ReadonlySet<string>): Document {
  const all = reroutesOf(doc)
  const outside = (id: string | null): string | null => {
    let at = id
    for (let steps = 0; at !== null && ids.has(at) && steps <= all.size; steps++) at = all.get(at)?.parent ?? null
    return at
  }
  let next = edited(doc, (raw, id) => {
    if (ids.has(id)) return null
    const parent = idOf(raw.parentId)
    if (parent === null || !ids.has(parent)) return raw
    const { parentId: _, ...rest } = raw
    const held = outside(parent)
    return held === null ? rest : { ...rest, parentId: Number(held) }
  })
  if (next === doc) return doc
  for (const link of doc.links.values()) {
    const parent = parentOf(doc, link)
    if (parent === null || !ids.has(parent)) continue
    const held = outside(parent)
    next = setParent(next, link, held === null ? undefined : Number(held))
  }
  return next
}

/** The points of these links, as a file of the older form has them in `extra`. */
export function pointsFor(doc: Document, links: ReadonlySet<string>): JsonObject {
  const reroutes = listOf(doc).filter((raw) => isObject(raw) && isArray(raw.linkIds) && raw.linkIds.some((id) => links.has(String(id))))
  if (!reroutes.length) return {}
  const linkExtensions = [...links].flatMap((id): JsonObject[] => {
    const link = doc.links.get(id)
    const parent = link ? parentOf(doc, link) : null
    return parent === null ? [] : [{ id: Number(id), parentId: Number(parent) }]
  })
  return { reroutes, linkExtensions }
}

/** Gives links that were copied the points that they had; `links` tells the new id of each. Shared ones stay shared. */
export function copyPoints(doc: Document, from: Document, links: ReadonlyMap<string, string>, by: Point): Document {
  const points = [...reroutesOf(from).values()].filter((point) => point.links.some((id) => links.has(id)))
  if (!points.length) return doc
  const first = nextId(doc)
  const ids = new Map(points.map((point, at) => [point.id, first + at]))
  const parentIn = (id: string | null): number | undefined => (id === null ? undefined : ids.get(id))
  const raws = points.map((point): JsonObject => {
    const parentId = parentIn(point.parent)
    return { id: ids.get(point.id) ?? 0, ...(parentId === undefined ? {} : { parentId }), pos: [point.pos[0] + by[0], point.pos[1] + by[1]], linkIds: point.links.flatMap((id) => (links.has(id) ? [Number(links.get(id))] : [])) }
  })
  let next = withList(doc, [...listOf(doc), ...raws])
  if (isObject(doc.file.state)) next = { ...next, file: { ...next.file, state: { ...doc.file.state, lastRerouteId: first + points.length - 1 } } }
  for (const [old, made] of links) {
    const [source, link] = [from.links.get(old), next.links.get(made)]
    const parent = source && parentIn(parentOf(from, source))
    if (link && parent !== undefined) next = setParent(next, link, parent)
  }
  return next
}

/** After links have gone: points that carry nothing any more go too. */
export function forgetLinks(doc: Document, gone: ReadonlySet<string>): Document {
  if (!reroutesOf(doc).size) return doc
  const extra = extraOf(doc)
  let next = doc
  if (isArray(extra.linkExtensions)) {
    const left = extra.linkExtensions.filter((each) => !isObject(each) || !gone.has(String(each.id)))
    if (left.length !== extra.linkExtensions.length) next = { ...doc, file: { ...doc.file, extra: { ...extra, linkExtensions: left } } }
  }
  return edited(next, (raw) => {
    if (!isArray(raw.linkIds)) return raw
    const left = raw.linkIds.filter((each) => !gone.has(String(each)))
    if (left.length === raw.linkIds.length) return raw
    return left.length || isObject(raw.floating) ? { ...raw, linkIds: left } : null
  })
}
