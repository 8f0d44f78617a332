/** The view of the graph, for commands that look elsewhere. */
import type { InternalNode, ReactFlowInstance } from '@xyflow/react'
import type { Point } from '../model/document'
import { TITLE_HEIGHT } from '../model/document'
import { activeDoc, enter, leave } from '../state/documents'
import { select, selected } from '../state/view'
import { standardSize } from './size'
import { DOT, type Drawn, type LinkEdge } from './toFlow'
import { definitions } from '../state/definitions'

let camera: ReactFlowInstance<Drawn, LinkEdge> | null = null
export const setCamera = (next: ReactFlowInstance<Drawn, LinkEdge>): void => {
  camera = next
}

const calm = (): number => (matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 160)

export const fit = (ids?: Iterable<string>): void => void camera?.fitView({ padding: ids ? 0.2 : 0.03, maxZoom: innerWidth > 2000 ? 1.4 : 1, duration: calm(), ...(ids ? { nodes: [...ids].map((id) => ({ id })) } : {}) })
export const zoom = (by: 'in' | 'out' | 'reset'): void => void (by === 'in' ? camera?.zoomIn({ duration: calm() }) : by === 'out' ? camera?.zoomOut({ duration: calm() }) : camera?.zoomTo(1, { duration: calm() }))

let pointer: { readonly x: number; readonly y: number } | null = null
/** Where the pointer was last seen on the graph; null once it went to a panel. */
export const setPointer = (next: typeof pointer): void => {
  pointer = next
}

/** The place under the pointer; the middle of what is seen where it is not on the graph. */
export function pointed(): Point {
  const at = pointer ? camera?.screenToFlowPosition(pointer) : undefined
  return at ? [at.x, at.y] : middle()
}

/** The middle of what is seen, in the graph's own coordinates. */
export function middle(): Point {
  const box = document.getElementById('canvas')?.getBoundingClientRect()
  const at = camera?.screenToFlowPosition({ x: (box?.left ?? 0) + (box?.width ?? 800) / 2, y: (box?.top ?? 0) + (box?.height ?? 600) / 2 })
  return [at?.x ?? 0, at?.y ?? 0]
}

/** A place for a new node that no other node takes: right of the selected one, else in the middle of what is seen. */
export function freePlace(size: Point): Point {
  const doc = activeDoc()
  const chosen = [...selected()].map((id) => doc?.nodes.get(id)).find((node) => node !== undefined)
  const centre = middle()
  let [x, y] = chosen ? [chosen.pos[0] + sizeOf(chosen.id)[0] + 40, chosen.pos[1] - TITLE_HEIGHT] : [centre[0] - size[0] / 2, centre[1] - size[1] / 2]
  const boxes = [...(doc?.nodes.values() ?? [])].map((node) => [node.pos[0], node.pos[1] - TITLE_HEIGHT, ...sizeOf(node.id)] as const)
  const taken = (): boolean => boxes.some(([left, top, width, height]) => x < left + width + 20 && left < x + size[0] + 20 && y < top + height + 20 && top < y + size[1] + TITLE_HEIGHT + 20)
  for (let tries = 0; tries < 200 && taken(); tries++) y += 40
  return [x, y]
}

/** Width and height of a card with its title, as drawn or as expected. */
export function sizeOf(id: string): Point {
  const measured = camera?.getInternalNode(id)?.measured
  if (measured?.width && measured.height) return [measured.width, measured.height]
  const node = activeDoc()?.nodes.get(id)
  const [width, height] = node?.size ?? standardSize(definitions().get(node?.type ?? ''))
  return [width, height + TITLE_HEIGHT]
}

/** The places that a link runs through, from its output to its input. */
export function linkPoints(id: string): Point[] {
  const edge = camera?.getEdge(id)
  if (!edge) return []
  const socket = (node: string, side: 'source' | 'target', handle: string | null | undefined): Point[] => {
    const found = camera?.getInternalNode(node)
    const bounds = found?.internals.handleBounds?.[side]?.find((each) => each.id === handle)
    return found && bounds ? [centre(found, bounds)] : []
  }
  const dots = (edge.data?.dots ?? []).flatMap((id): Point[] => {
    const at = camera?.getInternalNode(id)?.internals.positionAbsolute
    return at ? [[at.x + DOT, at.y + DOT]] : []
  })
  return [...socket(edge.source, 'source', edge.sourceHandle), ...dots, ...socket(edge.target, 'target', edge.targetHandle)]
}

const centre = (node: InternalNode<Drawn>, box: { x: number; y: number; width: number; height: number }): Point => [node.internals.positionAbsolute.x + box.x + box.width / 2, node.internals.positionAbsolute.y + box.y + box.height / 2]

export function focusNode(id: string): void {
  document.querySelector<HTMLElement>(`[data-node="${CSS.escape(id)}"]`)?.focus({ preventScroll: true })
}

/** Shows a node: selects it, and moves the view if it is out of sight. `12:3` is node 3 in the subgraph of node 12. */
export function goTo(id: string, fitted = false): void {
  const path = id.split(':')
  if (path.length > 1 && !activeDoc()?.nodes.has(id)) {
    leave(0)
    path.slice(0, -1).forEach(enter)
    setTimeout(() => show(path.at(-1) ?? '', true), 120) // the other graph has to be drawn first
  } else show(id, fitted)
}

function show(id: string, fitted: boolean): void {
  select([id])
  const box = camera?.getInternalNode(id)
  const canvas = document.getElementById('canvas')?.getBoundingClientRect()
  if (camera && box && canvas) {
    const at = camera.flowToScreenPosition(box.internals.positionAbsolute)
    const inside = at.x > canvas.left && at.y > canvas.top && at.x + 120 < canvas.right && at.y + 80 < canvas.bottom
    if (fitted || !inside) void camera.fitView({ nodes: [{ id }], maxZoom: Math.max(camera.getZoom(), 0.8), minZoom: 0.5, padding: 0.3, duration: calm() })
  }
  requestAnimationFrame(() => focusNode(id))
}

/** The nearest node in a direction; along links first. */
export function neighbour(id: string, key: string): string | null {
  const doc = activeDoc()
  const from = doc?.nodes.get(id)
  if (!doc || !from) return null
  const ways: Record<string, Point> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
  const way = ways[key]
  if (!way) return null
  const linked = new Set([...doc.links.values()].flatMap((link) => (key === 'ArrowRight' && link.from === id ? [link.to] : key === 'ArrowLeft' && link.to === id ? [link.from] : [])))
  let best: string | null = null
  let least = Infinity
  for (const node of doc.nodes.values()) {
    if (node.id === id) continue
    const dx = node.pos[0] - from.pos[0]
    const dy = node.pos[1] - from.pos[1]
    const ahead = dx * way[0] + dy * way[1]
    if (ahead <= 4 && !linked.has(node.id)) continue
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0])
    const cost = (linked.has(node.id) ? 0.35 : 1) * (Math.max(ahead, 0) + aside * 2)
    if (cost < least) (least = cost), (best = node.id)
  }
  return best
}
