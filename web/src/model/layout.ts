/** Places for nodes, sources left. */
import { Graph, layout } from '@dagrejs/dagre'
import { TITLE_HEIGHT, type Document, type Point } from './document'
import { moveNodes } from './edit'

export function arrange(doc: Document, sizeOf: (id: string) => Point, only?: ReadonlySet<string>): Document {
  const ids = [...doc.nodes.keys()].filter((id) => !only || only.has(id))
  if (!ids.length) return doc
  const graph = new Graph()
  graph.setGraph({ rankdir: 'LR', nodesep: 36, ranksep: 70 })
  graph.setDefaultEdgeLabel(() => ({}))
  for (const id of ids) {
    const [width, height] = sizeOf(id)
    graph.setNode(id, { width, height })
  }
  for (const link of doc.links.values()) if (graph.hasNode(link.from) && graph.hasNode(link.to)) graph.setEdge(link.from, link.to)
  layout(graph)
  const corner = only ? cornerOf(doc, ids) : ([60, 60] as Point)
  const placed = new Map<string, Point>()
  let left = Infinity
  let top = Infinity
  for (const id of ids) {
    const at = graph.node(id) as { x: number; y: number; width: number; height: number }
    const point: Point = [Math.round(at.x - at.width / 2), Math.round(at.y - at.height / 2) + TITLE_HEIGHT]
    placed.set(id, point)
    left = Math.min(left, point[0])
    top = Math.min(top, point[1])
  }
  return moveNodes(doc, new Map([...placed].map(([id, [x, y]]) => [id, [x - left + corner[0], y - top + corner[1]] as Point])))
}

function cornerOf(doc: Document, ids: readonly string[]): Point {
  const points = ids.map((id) => doc.nodes.get(id)?.pos ?? ([0, 0] as Point))
  return [Math.min(...points.map((point) => point[0])), Math.min(...points.map((point) => point[1]))]
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
