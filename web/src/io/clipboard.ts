/** Nodes as text: readable JSON on the system's clipboard, the same form as a workflow file. */
import type { Definitions } from '../model/definitions'
import { slots, type Document, type Group, type Link, type Node, type Point } from '../model/document'
import { cascade, makeLink, setRaw } from '../model/edit'
import { typesOf, withoutGroupNodes } from '../model/groupNodes'
import { INPUT_NODE } from '../model/library'
import { copyPoints, pointsFor } from '../model/reroutes'
import { isArray, isObject, parseJson, writeJson, type Json, type JsonObject } from './json'
import { nextIds } from '../model/ids'
import { readUi } from './ui'
import { withValues } from './widgets'

const MARK = 'darkroom/nodes'

export function copyNodes(doc: Document, ids: ReadonlySet<string>, definitions: Definitions, frames: readonly number[] = []): string {
  const nodes = [...doc.nodes.values()].filter((node) => ids.has(node.id))
  const links = [...doc.links.values()].filter((link) => ids.has(link.to))
  const used = new Set(nodes.map((node) => node.type))
  const { definitions: held, extra } = withoutGroupNodes(doc.file)
  const subgraphs = isObject(held) && isArray(held.subgraphs) ? held.subgraphs : []
  const needed = subgraphs.filter((each) => isObject(each) && used.has(String(each.id)))
  const groupNodes = Object.entries(isObject(extra) && isObject(extra.groupNodes) ? extra.groupNodes : {}).filter(([name]) => typesOf(name).some((type) => used.has(type)))
  const file: Record<string, Json> = {
    kind: MARK,
    nodes: nodes.map((node) => withValues(node, definitions.get(node.type))),
    links: links.map((link) => link.raw),
    ...(frames.length ? { groups: frames.flatMap((at) => doc.groups[at]?.raw ?? []) } : {}),
    ...(needed.length ? { definitions: { subgraphs } } : {}),
    extra: { ...(groupNodes.length ? { groupNodes: Object.fromEntries(groupNodes) } : {}), ...pointsFor(doc, new Set(links.map((link) => link.id))) },
  }
  return writeJson(file, 1)
}

/** What a pasted text holds, if it is nodes. */
export function readNodes(text: string): JsonObject | null {
  if (!text.includes(MARK)) return null
  try {
    const file = parseJson(text)
    return isObject(file) && file.kind === MARK ? file : null
  } catch {
    return null
  }
}

/** Puts copied nodes in at a place, or beside where they were, with the links among them; they hide none that is there; `incoming` keeps those that come from nodes still there. */
export function pasteNodes(doc: Document, file: JsonObject, definitions: Definitions, at: Point | null, incoming: boolean): { doc: Document; ids: Set<string> } {
  const pasted = readUi(file, definitions)
  const { node: firstNode, link: firstLink } = nextIds(doc)
  let nextNode = firstNode
  let nextLink = firstLink
  const renamed = new Map<string, string>()
  for (const id of pasted.nodes.keys()) renamed.set(id, String(nextNode++))
  const points = [...[...pasted.nodes.values()].map((node) => node.pos), ...pasted.groups.map((group) => group.box)]
  const corner = [Math.min(...points.map((point) => point[0])), Math.min(...points.map((point) => point[1]))] as const
  const meant: Point = at ? [Math.round(at[0] - corner[0]), Math.round(at[1] - corner[1])] : [32, 32]
  const more = cascade(doc, [...pasted.nodes.values()].map(({ pos }) => [pos[0] + meant[0], pos[1] + meant[1]] as const))
  const by: Point = [meant[0] + more, meant[1] + more]
  const nodes = new Map(doc.nodes)
  for (const node of pasted.nodes.values()) {
    const id = renamed.get(node.id) as string
    const pos: Point = [node.pos[0] + by[0], node.pos[1] + by[1]]
    const bare = setRaw(node, {
      id: Number(id),
      pos: [pos[0], pos[1]],
      inputs: node.raw.inputs === undefined ? undefined : slots(node.raw.inputs).map((slot) => ({ ...slot, link: null })),
      outputs: node.raw.outputs === undefined ? undefined : slots(node.raw.outputs).map((slot) => ({ ...slot, links: [] })),
    })
    nodes.set(id, { ...bare, id, pos })
  }
  const groups = pasted.groups.map((group) => {
    const box: Group['box'] = [group.box[0] + by[0], group.box[1] + by[1], group.box[2], group.box[3]]
    return { ...group, box, raw: { ...group.raw, bounding: [...box] } }
  })
  let next: Document = { ...doc, nodes, groups: groups.length ? [...doc.groups, ...groups] : doc.groups, file: withSubgraphs(doc, pasted.file) }
  const joined = new Map<string, string>()
  for (const link of pasted.links.values()) {
    const from = renamed.get(link.from) ?? (incoming && doc.nodes.has(link.from) ? link.from : undefined)
    const to = renamed.get(link.to)
    if (from === undefined || to === undefined) continue
    joined.set(link.id, String(nextLink))
    next = join(next, nextLink++, { ...link, from, to })
  }
  return { doc: copyPoints(next, pasted, joined, by), ids: new Set(renamed.values()) }
}

function join(doc: Document, id: number, link: Link): Document {
  const source = doc.nodes.get(link.from) as Node
  const target = doc.nodes.get(link.to) as Node
  const nodes = new Map(doc.nodes)
  nodes.set(target.id, setRaw(target, { inputs: slots(target.raw.inputs).map((slot, at) => (at === link.toSlot ? { ...slot, link: id } : slot)) }))
  const from = nodes.get(source.id) as Node
  nodes.set(source.id, setRaw(from, { outputs: slots(from.raw.outputs).map((slot, at) => (at === link.fromSlot ? { ...slot, links: [...(isArray(slot.links) ? slot.links : []), id] } : slot)) }))
  const made = makeLink(doc, id, link.from, link.fromSlot, link.to, link.toSlot, link.type)
  return { ...doc, nodes, links: new Map(doc.links).set(made.id, made) }
}

function withSubgraphs(doc: Document, pasted: JsonObject): JsonObject {
  const file = doc.nodes.has(INPUT_NODE) ? doc.file : withGroups(doc.file, pasted) // inside a subgraph they are subgraphs for good
  const theirs = isObject(pasted.definitions) && isArray(pasted.definitions.subgraphs) ? pasted.definitions.subgraphs : []
  if (!theirs.length) return file
  const held = isObject(file.definitions) ? file.definitions : {}
  const ours = isArray(held.subgraphs) ? held.subgraphs : []
  const missing = theirs.filter((each) => isObject(each) && !ours.some((own) => isObject(own) && own.id === each.id))
  return missing.length ? { ...file, definitions: { ...held, subgraphs: [...ours, ...missing] } } : file
}

function withGroups(file: JsonObject, pasted: JsonObject): JsonObject {
  const theirs = isObject(pasted.extra) && isObject(pasted.extra.groupNodes) ? pasted.extra.groupNodes : null
  if (!theirs) return file
  const extra = isObject(file.extra) ? file.extra : {}
  return { ...file, extra: { ...extra, groupNodes: { ...theirs, ...(isObject(extra.groupNodes) ? extra.groupNodes : {}) } } }
}
