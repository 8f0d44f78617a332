/** A workflow as a value. Nothing here is ever changed; edits make new ones that share what stayed. */
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from '../io/json'
import { typeName } from './types'

export type Point = readonly [number, number]
export type Values = Readonly<Record<string, Json>>

/** `raw` is the node as the file has it, edits included; values are held by name and written back at the end.
 *  `layout` names the positions of `widgets_values`; null where the type is unknown and the list is kept whole. */
export interface Node {
  readonly id: string
  readonly type: string
  readonly raw: JsonObject
  readonly pos: Point
  readonly size: Point | null
  readonly values: Values
  readonly given: Values
  readonly layout: readonly string[] | 'object' | null
}

export interface Link {
  readonly id: string
  readonly from: string
  readonly fromSlot: number
  readonly to: string
  readonly toSlot: number
  readonly type: string
  readonly raw: Json
}

export interface Group {
  readonly raw: JsonObject
  readonly title: string
  readonly box: readonly [number, number, number, number]
  readonly color: string
}

export interface Document {
  readonly file: JsonObject
  readonly nodes: ReadonlyMap<string, Node>
  readonly links: ReadonlyMap<string, Link>
  readonly groups: readonly Group[]
  /** What `file` says as it stands: parts that are still these are written as they came. */
  readonly origin: { readonly nodes: ReadonlyMap<string, Node>; readonly links: ReadonlyMap<string, Link>; readonly groups: readonly Group[] }
}

export const MUTED = 2
export const BYPASSED = 4
export const TITLE_HEIGHT = 30

export interface Slot {
  readonly name: string
  readonly type: string
  readonly link: string | null
  readonly widget: string | null
  readonly label: string
}

export function inputsOf(node: Pick<Node, 'raw'>): Slot[] {
  return slots(node.raw.inputs).map((slot) => ({
    name: toText(slot.name),
    type: typeName(slot.type),
    link: slot.link === null || slot.link === undefined ? null : String(slot.link),
    widget: isObject(slot.widget) ? toText(slot.widget.name) : null,
    label: toText(slot.label) || toText(slot.name),
  }))
}

/** The name of an input by its number in the file. */
export const inputAt = (node: Node, slot: number): string => inputsOf(node)[slot]?.name ?? ''

export function outputsOf(node: Node): { name: string; type: string; label: string }[] {
  return slots(node.raw.outputs).map((slot) => ({
    name: toText(slot.name),
    type: typeName(slot.type),
    label: toText(slot.label) || toText(slot.name),
  }))
}

export function slots(given: Json | undefined): JsonObject[] {
  return isArray(given) ? given.map((slot) => (isObject(slot) ? slot : {})) : []
}

export const modeOf = (node: Node): number => toNumber(node.raw.mode, 0)
export const titleOf = (node: Node): string => toText(node.raw.title)
export const flagOf = (node: Node, flag: string): boolean => isObject(node.raw.flags) && node.raw.flags[flag] === true
export const isNote = (node: Node): boolean => node.type === 'Note' || node.type === 'MarkdownNote'
export const isKnot = (node: Node): boolean => node.type === 'Reroute'
export const isVirtual = (node: Node): boolean => isNote(node) || node.type === 'PrimitiveNode' || node.type === 'Reroute' || node.type === '-10' || node.type === '-20'

export function pointOf(given: Json | undefined): Point | null {
  if (isArray(given) && given.length >= 2) return [toNumber(given[0]), toNumber(given[1])]
  if (isObject(given) && '0' in given) return [toNumber(given['0']), toNumber(given['1'])]
  return null
}

/** The link that ends at an input, if any: the one it names, or, where that is gone, one that says that it ends there. */
export function linkInto(doc: Document, node: Node, input: string): Link | undefined {
  const index = slots(node.raw.inputs).findIndex((slot) => slot.name === input)
  if (index < 0) return undefined
  const id = slots(node.raw.inputs)[index]?.link
  if (id === null || id === undefined) return undefined
  const link = doc.links.get(String(id)) ?? [...doc.links.values()].findLast((each) => each.to === node.id && each.toSlot === index)
  return link && link.to === node.id ? link : undefined
}

export function linksOf(doc: Document, id: string): Link[] {
  return [...doc.links.values()].filter((link) => link.from === id || link.to === id)
}

export interface Subgraph {
  readonly id: string
  readonly name: string
  readonly raw: JsonObject
}

/** All subgraph definitions by id, nested ones too. */
export function subgraphsOf(file: JsonObject): Map<string, Subgraph> {
  const found = new Map<string, Subgraph>()
  const collect = (holder: JsonObject): void => {
    const definitions = isObject(holder.definitions) ? holder.definitions.subgraphs : undefined
    for (const raw of isArray(definitions) ? definitions : []) {
      if (!isObject(raw) || found.has(toText(raw.id))) continue
      found.set(toText(raw.id), { id: toText(raw.id), name: toText(raw.name), raw })
      collect(raw)
    }
  }
  collect(file)
  return found
}
