/** Places for nodes, sources left. */
import { placesOf } from './columns'
import { TITLE_HEIGHT, type Document, type Point } from './document'
import { moveNodes, setGroup } from './edit'
import { holderOf, type Holder } from './groups'

/** What a frame leaves free around what is in it; above it has its title. */
const EDGE = 18
const HEAD = 48

type Box4 = readonly [number, number, number, number]

/** Where things are, counted from the corner of what holds them. */
interface Placed {
  readonly nodes: ReadonlyMap<string, Point>
  readonly frames: ReadonlyMap<number, Box4>
  readonly size: Point
}

/** Puts nodes where data flows from left to right. What is in a frame stays in it; frames become as large as they need. */
export function arrange(doc: Document, sizeOf: (id: string) => Point, only?: ReadonlySet<string>): Document {
  const ids = [...doc.nodes.keys()].filter((id) => !only || only.has(id))
  if (!ids.length) return doc
  const holder = holderOf(doc, sizeOf, (members) => !only || (members.length > 0 && members.every((id) => only.has(id))))
  const { nodes, frames } = placeIn(doc, sizeOf, ids, holder, null)
  const corner: Point = only ? cornerOf(doc, ids) : [60, 60 - TITLE_HEIGHT]
  const moved = moveNodes(doc, new Map([...nodes].map(([id, [x, y]]) => [id, [corner[0] + x, corner[1] + y + TITLE_HEIGHT] as Point])))
  return [...frames].reduce((next, [at, [x, y, width, height]]) => setGroup(next, at, { box: [corner[0] + x, corner[1] + y, width, height] }), moved)
}

/** What a frame, or the whole graph (null), holds: what its inner frames hold first, which then are boxes like nodes. */
function placeIn(doc: Document, sizeOf: (id: string) => Point, ids: readonly string[], holder: Holder, of: number | null): Placed {
  const own = ids.filter((id) => holder.nodes.get(id) === of)
  const inner = new Map([...holder.frames].filter(([, held]) => held === of).map(([frame]) => [frame, placeIn(doc, sizeOf, ids, holder, frame)]))
  const name = (frame: number): string => `frame ${frame}`
  const sizes = new Map<string, Point>([...own.map((id) => [id, sizeOf(id)] as const), ...[...inner].map(([frame, { size }]) => [name(frame), size] as const)])
  const here = (id: string): string | undefined => {
    let at = holder.nodes.get(id)
    if (at === of) return id
    while (at !== null && at !== undefined && holder.frames.get(at) !== of) at = holder.frames.get(at)
    return at === null || at === undefined ? undefined : name(at)
  }
  const edges = [...doc.links.values()].flatMap((link): [string, string][] => {
    const [from, to] = [here(link.from), here(link.to)]
    return from === undefined || to === undefined ? [] : [[from, to]]
  })
  const places = placesOf(sizes, edges)
  const [edge, head] = of === null ? [0, 0] : [EDGE, HEAD]
  const at = (key: string): Point => [(places.get(key)?.[0] ?? 0) + edge, (places.get(key)?.[1] ?? 0) + head]
  const nodes = new Map<string, Point>(own.map((id) => [id, at(id)]))
  const frames = new Map<number, Box4>()
  for (const [frame, placed] of inner) {
    const [x, y] = at(name(frame))
    frames.set(frame, [x, y, placed.size[0], placed.size[1]])
    for (const [id, place] of placed.nodes) nodes.set(id, [x + place[0], y + place[1]])
    for (const [each, box] of placed.frames) frames.set(each, [x + box[0], y + box[1], box[2], box[3]])
  }
  const box = of === null ? undefined : doc.groups[of]?.box
  if (!sizes.size) return { nodes, frames, size: [box?.[2] ?? 0, box?.[3] ?? 0] }
  const right = Math.max(...[...sizes].map(([key, [width]]) => at(key)[0] + width))
  const bottom = Math.max(...[...sizes].map(([key, [, height]]) => at(key)[1] + height))
  return { nodes, frames, size: [right + edge, bottom + edge] }
}

function cornerOf(doc: Document, ids: readonly string[]): Point {
  const points = ids.map((id) => doc.nodes.get(id)?.pos ?? ([0, 0] as Point))
  return [Math.min(...points.map((point) => point[0])), Math.min(...points.map((point) => point[1])) - TITLE_HEIGHT]
}

export type Side = 'left' | 'right' | 'top' | 'bottom'

interface Box {
  readonly id: string
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

const boxesOf = (doc: Document, ids: Iterable<string>, sizeOf: (id: string) => Point): Box[] =>
  [...ids].flatMap((id) => {
    const node = doc.nodes.get(id)
    const [width, height] = sizeOf(id)
    return node ? [{ id, x: node.pos[0], y: node.pos[1], width, height }] : []
  })

/** Puts one side of all nodes on one line. */
export function align(doc: Document, ids: Iterable<string>, side: Side, sizeOf: (id: string) => Point): Document {
  const boxes = boxesOf(doc, ids, sizeOf)
  if (boxes.length < 2) return doc
  const left = Math.min(...boxes.map((box) => box.x))
  const top = Math.min(...boxes.map((box) => box.y))
  const right = Math.max(...boxes.map((box) => box.x + box.width))
  const bottom = Math.max(...boxes.map((box) => box.y + box.height))
  const places: Record<Side, (box: Box) => Point> = {
    left: (box) => [left, box.y],
    right: (box) => [right - box.width, box.y],
    top: (box) => [box.x, top],
    bottom: (box) => [box.x, bottom - box.height],
  }
  return moveNodes(doc, new Map(boxes.map((box) => [box.id, places[side](box).map(Math.round) as unknown as Point])))
}

/** Makes the gaps between nodes alike; the outermost ones stay, unless they are too close together. */
export function distribute(doc: Document, ids: Iterable<string>, isAcross: boolean, sizeOf: (id: string) => Point): Document {
  const at = (box: Box): number => (isAcross ? box.x : box.y)
  const wide = (box: Box): number => (isAcross ? box.width : box.height)
  const boxes = boxesOf(doc, ids, sizeOf).sort((a, b) => at(a) - at(b))
  const [first, last] = [boxes[0], boxes.at(-1)]
  if (boxes.length < 3 || !first || !last) return doc
  const gap = Math.max(12, (at(last) + wide(last) - at(first) - boxes.reduce((sum, box) => sum + wide(box), 0)) / (boxes.length - 1))
  let next = at(first)
  const places = new Map<string, Point>()
  for (const box of boxes) {
    places.set(box.id, isAcross ? [Math.round(next), box.y] : [box.x, Math.round(next)])
    next += wide(box) + gap
  }
  return moveNodes(doc, places)
}
