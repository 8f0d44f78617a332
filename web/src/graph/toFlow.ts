/** From the document to what React Flow draws. Objects stay the same as long as what they show does. */
import type { Edge, Node as FlowNode } from '@xyflow/react'
import type { Definitions } from '../model/definitions'
import { flagOf, inputsOf, TITLE_HEIGHT, type Document, type Group, type Link, type Node } from '../model/document'
import { handleIn, handleOut } from './handles'
import { standardSize } from './size'
import { typeColor } from './types'

export type Card = FlowNode<{ node: Node }, 'card'>
export type Frame = FlowNode<{ group: Group; index: number }, 'frame'>
export type Drawn = Card | Frame

export const frameId = (index: number): string => `frame:${index}`
export const isFrame = (id: string): boolean => id.startsWith('frame:')

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
    const standard = standardSize(definitions.get(node.type))
    const size = node.size ?? standard
    const width = flagOf(node, 'collapsed') ? Math.min(size[0], 260) : Math.max(size[0], 140)
    return {
      ...was,
      id: node.id,
      type: 'card',
      position,
      data: { node },
      width,
      height: undefined,
      initialHeight: size[1] + TITLE_HEIGHT,
      selected: isSelected,
      dragging: false,
      draggable: !flagOf(node, 'pinned'),
    }
  })
  return [...frames, ...cards]
}

const edges = new WeakMap<Link, { slots: unknown; edge: Edge }>()

export function toEdges(doc: Document): Edge[] {
  const made: Edge[] = []
  for (const link of doc.links.values()) {
    const target = doc.nodes.get(link.to)
    if (!target || !doc.nodes.has(link.from)) continue
    const kept = edges.get(link)
    if (kept && kept.slots === target.raw.inputs) {
      made.push(kept.edge)
      continue
    }
    const input = inputsOf(target)[link.toSlot]
    if (!input) continue
    const edge: Edge = {
      id: link.id,
      source: link.from,
      target: link.to,
      sourceHandle: handleOut(link.fromSlot),
      targetHandle: handleIn(input.name),
      style: { stroke: typeColor(link.type === '*' ? input.type : link.type) },
      focusable: false,
      interactionWidth: 16,
    }
    edges.set(link, { slots: target.raw.inputs, edge })
    made.push(edge)
  }
  return made
}
