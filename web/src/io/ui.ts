/** The editor's file format, 0.4 and 1. What is not understood stays where it was. */
import type { Definitions } from '../model/definitions'
import type { Document, Group, Link, Node } from '../model/document'
import { withGroupNodes, withoutGroupNodes } from '../model/groupNodes'
import { highest } from '../model/ids'
import { known } from '../model/library'
import { bindPrimitives } from '../model/primitive'
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from './json'
import { readLink, readNode } from './parts'
import { bindValues, withValues } from './widgets'

export function readUi(given: JsonObject, server: Definitions): Document {
  const file = withGroupNodes(given, server)
  const definitions = known(server, file)
  const nodes = new Map<string, Node>()
  for (const raw of isArray(file.nodes) ? file.nodes : []) {
    if (!isObject(raw) || raw.id === undefined) continue
    const node = readNode(raw)
    nodes.set(node.id, bindValues(node, definitions.get(node.type)))
  }
  const links = new Map<string, Link>()
  for (const raw of isArray(file.links) ? file.links : []) {
    const link = readLink(raw)
    if (link) links.set(link.id, link)
  }
  const groups = (isArray(file.groups) ? file.groups : []).filter(isObject).map(readGroup)
  const doc = bindPrimitives({ file, nodes, links, groups, origin: { nodes, links, groups } }, definitions)
  return doc.nodes === nodes ? doc : { ...doc, origin: { ...doc.origin, nodes: doc.nodes } }
}

function readGroup(raw: JsonObject): Group {
  const box = isArray(raw.bounding) ? raw.bounding.map((side) => toNumber(side)) : []
  return { raw, title: toText(raw.title), box: [box[0] ?? 0, box[1] ?? 0, box[2] ?? 200, box[3] ?? 120], color: toText(raw.color) }
}

/** Nodes whose types were unknown get their values once the types are there. */
export function bindDocument(before: Document, server: Definitions): Document {
  const file = withGroupNodes(before.file, server)
  const doc = file.definitions === before.file.definitions ? before : { ...before, file }
  const definitions = known(server, doc.file)
  const isOriginal = doc.nodes === doc.origin.nodes
  let nodes: Map<string, Node> | null = null
  for (const [id, node] of doc.nodes) {
    const bound = bindValues(node, definitions.get(node.type))
    if (bound !== node) (nodes ??= new Map(doc.nodes)).set(id, bound)
  }
  const bound = bindPrimitives(nodes ? { ...doc, nodes } : doc, definitions)
  return bound.nodes === doc.nodes || !isOriginal ? bound : { ...bound, origin: { ...doc.origin, nodes: bound.nodes } }
}

/** The file, with what was edited written over what was read. */
export function writeUi(doc: Document, server: Definitions): JsonObject {
  const definitions = known(server, doc.file)
  const file: Record<string, Json> = { ...doc.file }
  if (doc.nodes !== doc.origin.nodes) {
    const unreadable = (isArray(doc.file.nodes) ? doc.file.nodes : []).filter((raw) => !isObject(raw) || raw.id === undefined)
    file.nodes = [...[...doc.nodes.values()].map((node) => withValues(node, definitions.get(node.type))), ...unreadable]
  }
  if (doc.links !== doc.origin.links) file.links = [...doc.links.values()].map((link) => link.raw)
  if (doc.groups !== doc.origin.groups) file.groups = doc.groups.map((group) => group.raw)
  const lastNode = highest(doc.nodes.keys())
  const lastLink = highest(doc.links.keys())
  if (isObject(doc.file.state)) {
    const state: Record<string, Json> = { ...doc.file.state }
    if (lastNode > toNumber(state.lastNodeId)) state.lastNodeId = lastNode
    if (lastLink > toNumber(state.lastLinkId)) state.lastLinkId = lastLink
    if (doc.nodes !== doc.origin.nodes || doc.links !== doc.origin.links) file.state = state
  } else {
    if (doc.nodes !== doc.origin.nodes && lastNode > toNumber(file.last_node_id, -1)) file.last_node_id = lastNode
    if (doc.links !== doc.origin.links && lastLink > toNumber(file.last_link_id, -1)) file.last_link_id = lastLink
  }
  return withoutGroupNodes(file)
}

export const EMPTY_FILE: JsonObject = {
  last_node_id: 0,
  last_link_id: 0,
  nodes: [],
  links: [],
  groups: [],
  config: {},
  extra: {},
  version: 0.4,
}
