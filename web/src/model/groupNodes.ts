/** Group nodes, which came before subgraphs: what `extra.groupNodes` defines, as subgraphs that go by the nodes' types,
 *  `workflow>NAME`. They are there while a file is open only; a file is written as it came unless one was edited inside. */
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from '../io/json'
import type { Definitions, InputDef } from './definitions'
import { slots } from './document'
import { INPUT_NODE, OUTPUT_NODE } from './library'

const MARKS = ['workflow>', 'workflow/']
const made = new WeakSet<JsonObject>()
const plain = new WeakMap<JsonObject, Json | undefined>()
const kept = new WeakMap<JsonObject, { readonly server: Definitions; readonly base: Json | undefined; readonly types: string; readonly definitions: JsonObject }>()

/** The types of the nodes that are group nodes of this name. */
export const typesOf = (name: string): string[] => MARKS.map((mark) => mark + name)

/** Whether this subgraph is a group node as its file has it. */
export const isGroupNode = (subgraph: JsonObject): boolean => made.has(subgraph)

const groupsOf = (file: JsonObject): JsonObject => (isObject(file.extra) && isObject(file.extra.groupNodes) ? file.extra.groupNodes : {})
const listOf = (definitions: Json | undefined): readonly Json[] => (isObject(definitions) && isArray(definitions.subgraphs) ? definitions.subgraphs : [])
const idIn = (each: Json): string => (isObject(each) ? toText(each.id) : '')
const isMade = (each: Json): boolean => isObject(each) && made.has(each)

/** The file with its group nodes among its subgraphs, once the server's types are known. */
export function withGroupNodes(file: JsonObject, server: Definitions): JsonObject {
  const groups = groupsOf(file)
  const names = Object.keys(groups).filter((name) => isObject(groups[name]))
  if (!server.size || !names.length) return file
  const { definitions: base } = withoutGroupNodes(file)
  const used = new Set(slots(file.nodes).map((node) => toText(node.type)))
  const types = names.flatMap((name) => typesOf(name).filter((type, at) => (at === 0 || used.has(type)) && !listOf(base).some((each) => idIn(each) === type)))
  const held = kept.get(groups)
  if (held && held.server === server && held.base === base && held.types === types.join()) return { ...file, definitions: held.definitions }
  const added = types.map((type) => subgraphOf(type, groups[type.slice(MARKS[0]?.length)] as JsonObject, server))
  const definitions = { ...(isObject(base) ? base : {}), subgraphs: [...listOf(base), ...added] }
  plain.set(definitions, base)
  kept.set(groups, { server, base, types: types.join(), definitions })
  return { ...file, definitions }
}

/** The file as it is written: group nodes are where they were, and those edited inside are subgraphs for good. */
export function withoutGroupNodes(file: JsonObject): JsonObject {
  const held = file.definitions
  if (!isObject(held)) return file
  if (plain.has(held)) {
    const { definitions: _, ...rest } = file
    const base = plain.get(held)
    return base === undefined ? rest : { ...file, definitions: base }
  }
  const groups = groupsOf(file)
  const isIn = (name: string, which: (each: Json) => boolean): boolean => listOf(held).some((each) => typesOf(name).includes(idIn(each)) && which(each))
  const left = Object.fromEntries(Object.entries(groups).filter(([name]) => isIn(name, isMade) || !isIn(name, (each) => !isMade(each))))
  const stay = new Set(Object.keys(left).flatMap(typesOf))
  const subgraphs = listOf(held).filter((each) => !isMade(each) || !stay.has(idIn(each)))
  const isSame = subgraphs.length === listOf(held).length
  const rest: JsonObject = Object.keys(left).length === Object.keys(groups).length ? file : { ...file, extra: { ...(file.extra as JsonObject), groupNodes: left } }
  if (isSame || subgraphs.length || Object.keys(held).length > 1) return isSame ? rest : { ...rest, definitions: { ...held, subgraphs } }
  const { definitions: _, ...bare } = rest
  return bare
}

interface Member {
  readonly id: number
  readonly type: string
  readonly raw: JsonObject
  readonly inputs: Record<string, Json>[]
  readonly outputs: Record<string, Json>[]
}

/** Sockets come first, then fields, then fields that their node lists as sockets; each in the order of the nodes.
 *  A primitive is the field of what it is linked to. So the official editor has it, but for Reroute nodes: it loses
 *  what comes into them. */
function subgraphOf(id: string, definition: JsonObject, server: Definitions): JsonObject {
  const members = slots(definition.nodes).map((raw, at): Member => ({ id: toNumber(raw.index, at), type: toText(raw.type), raw, inputs: slots(raw.inputs).map((slot) => ({ type: '*', ...slot, link: null })), outputs: slots(raw.outputs).map((slot) => ({ type: '*', ...slot, links: [] })) }))
  const fields = members.filter((member) => member.type !== 'PrimitiveNode')
  const memberOf = (index: Json | undefined): Member | undefined => members.find((member) => member.id === toNumber(index, -1))
  const links: JsonObject[] = []
  const join = (from: number, fromSlot: number, to: number, toSlot: number, type: Json): number => links.push({ id: links.length + 1, origin_id: from, origin_slot: fromSlot, target_id: to, target_slot: toSlot, type })
  const fed = new Map<Member, { readonly member: Member; readonly slot: number }[]>()
  for (const link of isArray(definition.links) ? definition.links : []) {
    const [from, to] = isArray(link) ? [memberOf(link[0]), memberOf(link[2])] : []
    const [fromSlot, toSlot] = isArray(link) ? [toNumber(link[1]), toNumber(link[3])] : [0, 0]
    const into = to?.inputs[toSlot]
    if (!from || !to || !into) continue
    if (from.type === 'PrimitiveNode') {
      fed.set(from, [...(fed.get(from) ?? []), { member: to, slot: toSlot }])
      into.link = 0 // taken: the link comes once its end is known
    } else {
      into.link = join(from.id, fromSlot, to.id, toSlot, into.type as Json)
      const out = from.outputs[fromSlot]
      if (out) out.links = [...(out.links as readonly Json[]), into.link]
    }
  }

  const asked = (member: Member, side: 'input' | 'output', name: string): JsonObject => {
    const each = isObject(definition.config) ? definition.config[String(member.id)] : undefined
    const found = isObject(each) && isObject(each[side]) ? each[side][name] : undefined
    return isObject(found) ? found : {}
  }
  const naming = (): ((member: Member, name: string) => string) => {
    const taken = new Set<string>()
    return (member, name) => {
      const before = toText(member.raw.title) || member.type
      let called = name
      for (let times = 1; taken.has(called); times++) called = times === 1 ? `${before} ${name}` : `${before} ${times} ${name}`
      taken.add(called)
      return called
    }
  }
  const inputs: JsonObject[] = []
  const nameIn = naming()
  const letIn = (member: Member, name: string, type: Json, control: InputDef['control'], targets: readonly { readonly member: Member; readonly slot: number }[]): void => {
    const linkIds = targets.map((target) => {
      const into = target.member.inputs[target.slot] as Record<string, Json>
      return toNumber((into.link = join(Number(INPUT_NODE), inputs.length, target.member.id, target.slot, type)))
    })
    inputs.push({ id: `${id} in ${inputs.length}`, name: nameIn(member, toText(asked(member, 'input', name).name) || name), type, linkIds, ...(control === 'none' ? {} : { control }) })
  }
  const free = (member: Member, isField: boolean): number[] => member.inputs.flatMap((input, slot) => (input.link === null && isObject(input.widget) === isField ? [slot] : []))
  const defOf = (member: Member, name: Json | undefined): InputDef | undefined => server.get(member.type)?.inputs.find((input) => input.name === name && input.widget)

  for (const member of fields)
    for (const slot of free(member, false)) {
      const { name, type } = member.inputs[slot] as JsonObject
      const given = (member.type === 'Reroute' && member.outputs[0]?.type) || (type as Json)
      if (asked(member, 'input', toText(name)).visible !== false) letIn(member, toText(name) || toText(given), given, 'none', [{ member, slot }])
    }
  const converted = fields.flatMap((member) => free(member, true).map((slot) => ({ member, slot })))
  for (const member of members) {
    const targets = fed.get(member) ?? []
    const input = targets[0] && defOf(targets[0].member, targets[0].member.inputs[targets[0].slot]?.name)
    if (input) letIn(member, 'value', input.type, input.widget === 'combo' ? 'combo' : input.widget === 'int' || input.widget === 'float' ? 'seed' : 'none', targets)
    for (const field of server.get(member.type)?.inputs ?? []) {
      if (!field.widget || member.inputs.some((each) => each.name === field.name)) continue
      member.inputs.push({ name: field.name, type: field.type, link: null, widget: { name: field.name } })
      letIn(member, field.name, field.type, field.control, [{ member, slot: member.inputs.length - 1 }])
    }
  }
  for (const target of converted) {
    const field = defOf(target.member, target.member.inputs[target.slot]?.name)
    if (field) letIn(target.member, field.name, field.type, field.control, [target])
  }

  const outputs: JsonObject[] = []
  const nameOut = naming()
  const isExternal = (member: Member, slot: number): boolean => isArray(definition.external) && definition.external.some((each) => isArray(each) && memberOf(each[0]) === member && toNumber(each[1]) === slot)
  for (const member of fields)
    member.outputs.forEach((output, slot) => {
      const { name, visible } = asked(member, 'output', String(slot))
      if (visible === false || ((output.links as readonly Json[]).length && !isExternal(member, slot))) return
      const link = join(member.id, slot, Number(OUTPUT_NODE), outputs.length, output.type as Json)
      output.links = [...(output.links as readonly Json[]), link]
      outputs.push({ id: `${id} out ${outputs.length}`, name: nameOut(member, toText(name) || toText(output.name) || toText(output.type)), type: output.type as Json, linkIds: [link] })
    })

  const nodes = fields.map(({ raw, inputs: into, outputs: out, ...member }): JsonObject => ({ ...raw, id: member.id, inputs: into, outputs: out }))
  const state = { lastGroupId: 0, lastNodeId: Math.max(0, ...members.map((member) => member.id)), lastLinkId: links.length, lastRerouteId: 0 }
  const ends = { inputNode: { id: Number(INPUT_NODE), bounding: [-260, 0, 140, 60 + 22 * inputs.length] }, outputNode: { id: Number(OUTPUT_NODE), bounding: [1200, 0, 140, 60 + 22 * outputs.length] } }
  const raw: JsonObject = { id, version: 1, state, revision: 0, config: {}, name: id.slice(MARKS[0]?.length), ...ends, inputs, outputs, widgets: [], nodes, links, groups: [], extra: {} }
  made.add(raw)
  return raw
}
