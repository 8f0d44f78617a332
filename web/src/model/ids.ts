/** Numbers of nodes and links: never one that the file has handed out before. */
import { isObject, toNumber } from '../io/json'
import type { Document } from './document'

export function highest(ids: Iterable<string>): number {
  let top = 0
  for (const id of ids) if (/^\d+$/.test(id)) top = Math.max(top, Number(id))
  return top
}

/** The ids that a new node and a new link may take. */
export function nextIds(doc: Document): { node: number; link: number } {
  const state = isObject(doc.file.state) ? doc.file.state : {}
  return {
    node: Math.max(highest(doc.nodes.keys()), toNumber(doc.file.last_node_id), toNumber(state.lastNodeId)) + 1,
    link: Math.max(highest(doc.links.keys()), toNumber(doc.file.last_link_id), toNumber(state.lastLinkId)) + 1,
  }
}
