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
