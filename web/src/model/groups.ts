/** Frames: what lies in them, and moving it along. */
import { TITLE_HEIGHT, type Document, type Point } from './document'
import { moveNodes, setGroup } from './edit'
import { moveReroutes, reroutesOf } from './reroutes'

export interface Members {
  readonly nodes: ReadonlySet<string>
  readonly dots: ReadonlySet<string>
  readonly groups: ReadonlySet<number>
}

/** A node belongs to a frame if its middle lies in it; a frame if all of it does. `sizeOf` counts the title in. */
export function membersOf(doc: Document, index: number, sizeOf: (id: string) => Point): Members {
  const group = doc.groups[index]
  const nodes = new Set<string>()
  const dots = new Set<string>()
  const groups = new Set<number>()
  if (!group) return { nodes, dots, groups }
  const [left, top, width, height] = group.box
  const holds = (x: number, y: number): boolean => x >= left && x <= left + width && y >= top && y <= top + height
  for (const node of doc.nodes.values()) {
    const [wide, high] = sizeOf(node.id)
    if (holds(node.pos[0] + wide / 2, node.pos[1] - TITLE_HEIGHT + high / 2)) nodes.add(node.id)
  }
  for (const dot of reroutesOf(doc).values()) if (holds(dot.pos[0], dot.pos[1])) dots.add(dot.id)
  doc.groups.forEach(({ box: [x, y, w, h] }, at) => {
    if (at !== index && holds(x, y) && holds(x + w, y + h)) groups.add(at)
  })
  return { nodes, dots, groups }
}

/** Moves a frame and what is in it, in one edit. */
export function moveGroup(doc: Document, index: number, by: Point, members: Members): Document {
  const shift = ([x, y]: Point): Point => [x + by[0], y + by[1]]
  const places = new Map([...members.nodes].flatMap((id) => (doc.nodes.has(id) ? [[id, shift(doc.nodes.get(id)?.pos as Point)] as const] : [])))
  const points = new Map([...members.dots].flatMap((id) => (reroutesOf(doc).has(id) ? [[id, shift(reroutesOf(doc).get(id)?.pos as Point)] as const] : [])))
  const moved = moveReroutes(moveNodes(doc, places), points)
  return [index, ...members.groups].reduce((next, at) => {
    const box = next.groups[at]?.box
    return box ? setGroup(next, at, { box: [box[0] + by[0], box[1] + by[1], box[2], box[3]] }) : next
  }, moved)
}

/** The innermost frame that holds each node and each frame; null where none does. */
export interface Holder {
  readonly nodes: ReadonlyMap<string, number | null>
  readonly frames: ReadonlyMap<number, number | null>
}

/** `counts` says whether a frame with these nodes in it is looked at. */
export function holderOf(doc: Document, sizeOf: (id: string) => Point, counts: (nodes: readonly string[]) => boolean): Holder {
  const area = (at: number): number => (doc.groups[at]?.box[2] ?? 0) * (doc.groups[at]?.box[3] ?? 0)
  const nodes = new Map<string, number | null>([...doc.nodes.keys()].map((id) => [id, null]))
  const frames = new Map<number, number | null>()
  // the largest first: a smaller one in it takes over; of two alike, the first one is the outer one
  const order = doc.groups.map((_, at) => at).sort((a, b) => area(b) - area(a) || a - b)
  const found = order.flatMap((at) => {
    const members = membersOf(doc, at, sizeOf)
    return counts([...members.nodes]) ? [{ at, members }] : []
  })
  for (const { at } of found) frames.set(at, null)
  found.forEach(({ at, members }, place) => {
    for (const id of members.nodes) nodes.set(id, at)
    for (const inner of found.slice(place + 1)) if (members.groups.has(inner.at)) frames.set(inner.at, at)
  })
  return { nodes, frames }
}
