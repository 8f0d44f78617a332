/** From the document to what React Flow draws. Objects stay the same as long as what they show does. */
import type { Edge, InternalNode, Node as FlowNode } from '@xyflow/react'
import type { Definitions } from '../model/definitions'
import { flagOf, inputsOf, isKnot, TITLE_HEIGHT, type Document, type Group, type Link, type Node, type Point } from '../model/document'
import { defFor } from '../model/varying'
import { chainOf, reroutesOf } from '../model/reroutes'
import { handleIn, handleOut } from './handles'
import { KNOT, KNOT_HEIGHT, leastWidth, standardSize } from './size'
import { typeColor } from './types'

export type Card = FlowNode<{ node: Node }, 'card'>
export type Frame = FlowNode<{ group: Group; index: number }, 'frame'>
export type Dot = FlowNode<{ color: string }, 'dot'>
export type Drawn = Card | Frame | Dot
export type LinkEdge = Edge<{ dots: readonly string[]; color: string }, 'link'>

export const frameId = (index: number): string => `frame:${index}`
export const isFrame = (id: string): boolean => id.startsWith('frame:')
export const frameOf = (id: string): number => Number(id.slice(6))
export const dotId = (id: string): string => `dot:${id}`
export const isDot = (id: string): boolean => id.startsWith('dot:')
export const dotOf = (id: string): string => id.slice(4)
/** The picture of a node that Alt+drag copies. */
export const COPY = 'copy of '
export const isCopy = (id: string): boolean => id.startsWith(COPY)
/** Half of what a point takes on the canvas: it is drawn around its place. */
export const DOT = 12
/** The place of a point of links, as it is drawn now. */
export const middleOfDot = (dot: InternalNode | undefined): Point | undefined => dot && [dot.internals.positionAbsolute.x + DOT, dot.internals.positionAbsolute.y + DOT]

export function toFlow(doc: Document, definitions: Definitions, selected: ReadonlySet<string>, before: readonly Drawn[]): Drawn[] {
  const old = new Map(before.map((each) => [each.id, each]))
  const frames = doc.groups.map((group, index): Drawn => {
    const id = frameId(index)
    const was = old.get(id) as Frame | undefined
    if (was && was.data.group === group && was.selected === selected.has(id)) return was
    const [x, y, width, height] = group.box
    return { ...was, id, type: 'frame', position: { x, y }, data: { group, index }, width, height, zIndex: -1, selected: selected.has(id), dragHandle: '.frame-title' }
  })
  const cards = [...doc.nodes.values()].map((node): Drawn => {
    const was = old.get(node.id) as Card | undefined
    const isSelected = selected.has(node.id)
    const position = { x: node.pos[0], y: node.pos[1] - TITLE_HEIGHT }
    if (was && was.data.node === node && was.selected === isSelected && was.position.x === position.x && was.position.y === position.y && !was.dragging) return was
    const def = defFor(definitions.get(node.type), node)
    const size = node.size ?? standardSize(def)
    const width = isKnot(node) ? KNOT : flagOf(node, 'collapsed') ? Math.min(size[0], 260) : Math.max(size[0], leastWidth(node, def))
    return {
      ...was,
      id: node.id,
      type: 'card',
      position,
      data: { node },
      width,
      height: undefined,
      initialHeight: isKnot(node) ? KNOT_HEIGHT : flagOf(node, 'collapsed') ? TITLE_HEIGHT : size[1] + TITLE_HEIGHT,
      selected: isSelected,
      dragging: false,
      draggable: !flagOf(node, 'pinned'),
    }
  })
  return [...frames, ...cards, ...dots(doc, selected, old), ...before.filter((each) => isCopy(each.id))]
}

function dots(doc: Document, selected: ReadonlySet<string>, old: ReadonlyMap<string, Drawn>): Dot[] {
  return [...reroutesOf(doc).values()].map((point) => {
    const id = dotId(point.id)
    const was = old.get(id) as Dot | undefined
    const carried = doc.links.get(point.links.find((link) => doc.links.has(link)) ?? '')
    const color = typeColor(carried?.type ?? '*')
    const position = { x: point.pos[0] - DOT, y: point.pos[1] - DOT }
    if (was && was.position.x === position.x && was.position.y === position.y && was.selected === selected.has(id) && was.data.color === color && !was.dragging) return was
    return { ...was, id, type: 'dot', position, data: { color }, width: 2 * DOT, height: 2 * DOT, selected: selected.has(id), dragging: false, zIndex: 1 }
  })
}

const edges = new WeakMap<Link, { slots: unknown; chain: string; edge: LinkEdge }>()

export function toEdges(doc: Document): LinkEdge[] {
  const made: LinkEdge[] = []
  for (const link of doc.links.values()) {
    const target = doc.nodes.get(link.to)
    if (!target || !doc.nodes.has(link.from)) continue
    const kept = edges.get(link)
    const points = chainOf(doc, link).map((point) => dotId(point.id))
    const chain = points.join()
    if (kept && kept.slots === target.raw.inputs && kept.chain === chain) {
      made.push(kept.edge)
      continue
    }
    const input = inputsOf(target)[link.toSlot]
    if (!input) continue
    const color = typeColor(link.type === '*' ? input.type : link.type)
    const edge: LinkEdge = {
      id: link.id,
      type: 'link',
      data: { dots: points, color },
      source: link.from,
      target: link.to,
      ariaLabel: `${link.from} → ${link.to}`,
      sourceHandle: handleOut(link.fromSlot),
      targetHandle: handleIn(input.name),
      focusable: false,
    }
    edges.set(link, { slots: target.raw.inputs, chain, edge })
    made.push(edge)
  }
  return made
}
