/** Single nodes and links of a file. */
import { pointOf, type Link, type Node } from '../model/document'
import { typeName } from '../model/types'
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from './json'

export function readNode(raw: JsonObject): Node {
  const values = {}
  return {
    id: String(raw.id),
    type: toText(raw.type),
    raw,
    pos: pointOf(raw.pos) ?? [0, 0],
    size: pointOf(raw.size),
    values,
    given: values,
    layout: null,
  }
}

export function readLink(raw: Json): Link | null {
  if (isArray(raw) && raw.length >= 5) {
    const [id, from, fromSlot, to, toSlot, type] = raw
    return { id: String(id), from: String(from), fromSlot: toNumber(fromSlot), to: String(to), toSlot: toNumber(toSlot), type: typeName(type), raw }
  }
  if (!isObject(raw) || raw.id === undefined) return null
  return {
    id: String(raw.id),
    from: String(raw.origin_id),
    fromSlot: toNumber(raw.origin_slot),
    to: String(raw.target_id),
    toSlot: toNumber(raw.target_slot),
    type: typeName(raw.type),
    raw,
  }
}
