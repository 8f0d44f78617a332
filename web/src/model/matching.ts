/** Sockets that have one type, whichever it is: what the first link has made of it. */
import type { Definitions, NodeDef } from './definitions'
import { isKnot, linkInto, outputsOf, type Document, type Link, type Node } from './document'
import { ANY } from './types'
import { defFor } from './varying'

/** The types of a node's sockets, by what the node type calls them. */
export type Matched = Readonly<Record<string, string>>

export const NOTHING_MATCHED: Matched = {}

/** Whether links decide about sockets of this type of nodes. */
export const matches = (def: NodeDef | undefined): boolean => def?.inputs.some((input) => input.match || input.members?.each.match) ?? false

/** What the links of a node have decided; `without`: an input whose link does not count, since it is to be another. */
export function matchedOf(doc: Document, definitions: Definitions, node: Node, without?: string): Matched {
  return matched(doc, definitions, node, without, new Set())
}

function matched(doc: Document, definitions: Definitions, node: Node, without: string | undefined, seen: ReadonlySet<string>): Matched {
  const given = definitions.get(node.type)
  if (!matches(given)) return NOTHING_MATCHED
  const found: Record<string, string> = {}
  for (const input of defFor(given, node)?.inputs ?? []) {
    if (!input.match || input.match in found || input.name === without) continue
    const link = linkInto(doc, node, input.name)
    if (!link) continue
    const type = typeOn(doc, definitions, link, new Set([...seen, node.id]))
    found[input.match] = type === ANY ? input.type : type
  }
  return found
}

/** The type of what a link brings, however far back that is decided. */
function typeOn(doc: Document, definitions: Definitions, link: Link, seen: ReadonlySet<string>): string {
  const source = doc.nodes.get(link.from)
  if (!source || seen.has(source.id)) return ANY
  if (isKnot(source)) {
    const before = [...doc.links.values()].find((each) => each.to === source.id)
    return before ? typeOn(doc, definitions, before, new Set([...seen, source.id])) : ANY
  }
  const output = definitions.get(source.type)?.outputs[link.fromSlot]
  if (!output) return outputsOf(source)[link.fromSlot]?.type ?? ANY
  return output.match ? (matched(doc, definitions, source, undefined, seen)[output.match] ?? output.type) : output.type
}
