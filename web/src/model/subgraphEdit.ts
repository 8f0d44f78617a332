/** Making a subgraph of nodes, taking one apart, and its sockets. */
import { isArray, toText, type Json, type JsonObject } from '../io/json'
import { nextIds } from './ids'
import { withValues } from '../io/widgets'
import { defaultOf, inputOf, type Definitions } from './definitions'
import { inputAt, inputsOf, linkInto, outputsOf, slots, subgraphsOf, TITLE_HEIGHT, type Document, type Link, type Node, type Point } from './document'
import { connect, removeNodes, setRaw, setValue, withNode } from './edit'
import { INPUT_NODE, known, OUTPUT_NODE } from './library'
import { defFor } from './varying'
import { dropInput, isEnd, openSubgraph, renumber, withLibrary } from './subgraphs'

const unique = (name: string, taken: readonly string[]): string => {
  for (let number = 1, made = name; ; made = `${name}_${number++}`) if (!taken.includes(made)) return made
}

interface Made {
  readonly doc: Document
  readonly id: string
}

/** Puts nodes into a new subgraph; `newId` gives it and its sockets their ids. `sizeOf` counts titles in. */
export function makeSubgraph(doc: Document, ids: ReadonlySet<string>, name: string, server: Definitions, sizeOf: (id: string) => Point, newId: () => string): Made | null {
  const nodes = [...doc.nodes.values()].filter((node) => ids.has(node.id) && !isEnd(node.id))
  if (!nodes.length) return null
  const inside = new Set(nodes.map((node) => node.id))
  const defs = known(server, doc.file)
  const boxes = nodes.map((node) => [node.pos[0], node.pos[1] - TITLE_HEIGHT, ...sizeOf(node.id)] as const)
  const left = Math.min(...boxes.map((box) => box[0]))
  const top = Math.min(...boxes.map((box) => box[1]))
  const right = Math.max(...boxes.map((box) => box[0] + box[2]))
  const bottom = Math.max(...boxes.map((box) => box[1] + box[3]))
  const links: { id: number; origin_id: Json; origin_slot: number; target_id: Json; target_slot: number; type: string }[] = []
  const inputs: { id: string; name: string; type: string; linkIds: number[]; source: string; outer: Link; widget: boolean }[] = []
  const outputs: { id: string; name: string; type: string; linkIds: number[]; source: string; outer: Link[] }[] = []
  const rawId = (id: string): Json => doc.nodes.get(id)?.raw.id as Json
  for (const link of doc.links.values()) {
    const comes = inside.has(link.from)
    const goes = inside.has(link.to)
    const source = `${link.from} ${link.fromSlot}`
    if (comes && goes) links.push({ id: links.length + 1, origin_id: rawId(link.from), origin_slot: link.fromSlot, target_id: rawId(link.to), target_slot: link.toSlot, type: link.type })
    else if (goes) {
      const target = doc.nodes.get(link.to) as Node
      const slot = inputsOf(target)[link.toSlot]
      const def = inputOf(defFor(defs.get(target.type), target), slot?.name ?? '')
      let held = inputs.find((each) => each.source === source)
      if (!held) {
        const type = def?.type ?? (link.type === '*' ? (slot?.type ?? '*') : link.type)
        held = { id: newId(), name: unique(slot?.name || type.toLowerCase(), inputs.map((each) => each.name)), type, linkIds: [], source, outer: link, widget: Boolean(def?.widget) }
        inputs.push(held)
      }
      held.linkIds.push(links.length + 1)
      links.push({ id: links.length + 1, origin_id: Number(INPUT_NODE), origin_slot: inputs.indexOf(held), target_id: rawId(link.to), target_slot: link.toSlot, type: held.type })
    } else if (comes) {
      let held = outputs.find((each) => each.source === source)
      if (!held) {
        const node = doc.nodes.get(link.from) as Node
        const given = defs.get(node.type)?.outputs[link.fromSlot] ?? outputsOf(node)[link.fromSlot]
        held = { id: newId(), name: unique(given?.name || link.type, outputs.map((each) => each.name)), type: given?.type ?? link.type, linkIds: [links.length + 1], source, outer: [] }
        links.push({ id: links.length + 1, origin_id: rawId(link.from), origin_slot: link.fromSlot, target_id: Number(OUTPUT_NODE), target_slot: outputs.length, type: held.type })
        outputs.push(held)
      }
      held.outer.push(link)
    }
  }
  const uuid = newId()
  const raws = nodes.map((node): JsonObject => {
    const raw = withValues(node, defs.get(node.type))
    const into = (at: number): number | null => links.find((link) => String(link.target_id) === node.id && link.target_slot === at)?.id ?? null
    const outOf = (at: number): number[] => links.filter((link) => String(link.origin_id) === node.id && link.origin_slot === at).map((link) => link.id)
    return { ...raw, ...(raw.inputs === undefined ? {} : { inputs: slots(raw.inputs).map((slot, at) => ({ ...slot, link: into(at) })) }), ...(raw.outputs === undefined ? {} : { outputs: slots(raw.outputs).map((slot, at) => ({ ...slot, links: outOf(at) })) }) }
  })
  const end = (list: readonly { id: string; name: string; type: string; linkIds: number[] }[]): Json[] => list.map(({ id, name: called, type, linkIds }) => ({ id, name: called, type, linkIds }))
  const highest = Math.max(0, ...nodes.map((node) => Number(node.id) || 0))
  const middle = Math.round((top + bottom) / 2)
  const raw: JsonObject = {
    id: uuid,
    version: 1,
    state: { lastGroupId: 0, lastNodeId: highest, lastLinkId: links.length, lastRerouteId: 0 },
    revision: 0,
    config: {},
    name,
    inputNode: { id: Number(INPUT_NODE), bounding: [Math.round(left) - 220, middle - 60, 140, 60 + 22 * inputs.length] },
    outputNode: { id: Number(OUTPUT_NODE), bounding: [Math.round(right) + 80, middle - 60, 140, 60 + 22 * outputs.length] },
    inputs: end(inputs),
    outputs: end(outputs),
    widgets: [],
    nodes: raws,
    links,
    groups: [],
    extra: {},
  }
  const { node: number } = nextIds(doc)
  const pos: Point = [Math.round((left + right) / 2 - 120), Math.round(middle)]
  const size: Point = [240, Math.max(inputs.length, outputs.length) * 22 + 14]
  const instance: Node = {
    id: String(number),
    type: uuid,
    raw: {
      id: number,
      type: uuid,
      pos: [...pos],
      size: [...size],
      flags: {},
      order: 0,
      mode: 0,
      inputs: inputs.map((each) => ({ name: each.name, type: each.type, link: null, ...(each.widget ? { widget: { name: each.name } } : {}) })),
      outputs: outputs.map((each) => ({ name: each.name, type: each.type, links: [] })),
      properties: {},
      widgets_values: [],
    },
    pos,
    size,
    values: {},
    given: {},
    layout: [],
  }
  let next = removeNodes({ ...doc, file: withLibrary(doc.file, doc.file.definitions as JsonObject | undefined, [raw]) }, inside)
  next = withNode(next, instance)
  const def = known(server, next.file).get(uuid)
  for (const each of inputs) next = connect(next, { from: each.outer.from, fromSlot: each.outer.fromSlot, to: instance.id, input: each.name }, def, each.outer.type)
  outputs.forEach((each, fromSlot) => {
    for (const link of each.outer) {
      const target = doc.nodes.get(link.to)
      if (target) next = connect(next, { from: instance.id, fromSlot, to: link.to, input: inputAt(target, link.toSlot) }, defs.get(target.type), each.type)
    }
  })
  return { doc: next, id: instance.id }
}

/** Puts what is in a subgraph in the place of one instance of it. */
export function unpackSubgraph(doc: Document, id: string, server: Definitions): { readonly doc: Document; readonly ids: ReadonlySet<string> } | null {
  const instance = doc.nodes.get(id)
  const inner = instance && openSubgraph(doc, instance.type, server)
  if (!instance || !inner) return null
  const defs = known(server, doc.file)
  const face = defs.get(instance.type)
  const body = [...inner.nodes.values()].filter((node) => !isEnd(node.id))
  const by = offset(instance, body)
  const names = new Map<string, string>()
  let { node: number } = nextIds(doc)
  let next = doc
  for (const node of body) {
    const fresh = String(number++)
    names.set(node.id, fresh)
    const pos: Point = [Math.round(node.pos[0] + by[0]), Math.round(node.pos[1] + by[1])]
    const bare = setRaw(node, {
      id: Number(fresh),
      pos: [...pos],
      inputs: node.raw.inputs === undefined ? undefined : slots(node.raw.inputs).map((slot) => ({ ...slot, link: null })),
      outputs: node.raw.outputs === undefined ? undefined : slots(node.raw.outputs).map((slot) => ({ ...slot, links: [] })),
    })
    next = withNode(next, { ...bare, id: fresh, pos })
  }
  const outerOf = (slot: number): Link | undefined => linkInto(doc, instance, face?.inputs[slot]?.name ?? '')
  const join = (from: string, fromSlot: number, link: Link, type: string): void => {
    const target = inner.nodes.get(link.to) as Node
    next = connect(next, { from, fromSlot, to: names.get(link.to) as string, input: inputAt(target, link.toSlot) }, defs.get(target.type), type)
  }
  for (const link of inner.links.values()) {
    const isIn = link.from === INPUT_NODE
    const outer = isIn ? outerOf(link.fromSlot) : undefined
    if (link.to === OUTPUT_NODE) {
      const from = isIn ? outer?.from : names.get(link.from)
      const fromSlot = isIn ? (outer?.fromSlot ?? 0) : link.fromSlot
      for (const out of doc.links.values()) {
        if (out.from !== id || out.fromSlot !== link.toSlot || from === undefined) continue
        const target = doc.nodes.get(out.to)
        if (target) next = connect(next, { from, fromSlot, to: out.to, input: inputAt(target, out.toSlot) }, defs.get(target.type), link.type)
      }
    } else if (!names.has(link.to)) continue
    else if (outer) join(outer.from, outer.fromSlot, link, outer.type)
    else if (isIn) {
      const input = face?.inputs[link.fromSlot]
      const target = inner.nodes.get(link.to) as Node
      if (input?.widget) next = setValue(next, names.get(link.to) as string, inputAt(target, link.toSlot), instance.values[input.name] ?? defaultOf(input))
    } else if (names.has(link.from)) join(names.get(link.from) as string, link.fromSlot, link, link.type)
  }
  const groups = inner.groups.map((group) => {
    const box = [group.box[0] + by[0], group.box[1] + by[1], group.box[2], group.box[3]].map(Math.round) as [number, number, number, number]
    return { ...group, box, raw: { ...group.raw, bounding: box } }
  })
  next = removeNodes({ ...next, groups: groups.length ? [...next.groups, ...groups] : next.groups }, new Set([id]))
  return { doc: next, ids: new Set(names.values()) }
}

function offset(instance: Node, body: readonly Node[]): Point {
  if (!body.length) return [0, 0]
  return [instance.pos[0] - Math.min(...body.map((node) => node.pos[0])), instance.pos[1] - Math.min(...body.map((node) => node.pos[1]))]
}

/** A new socket at an end of the subgraph that is open; gives its number. */
export function addEnd(inner: Document, end: typeof INPUT_NODE | typeof OUTPUT_NODE, name: string, type: string, newId: () => string): { readonly doc: Document; readonly slot: number; readonly name: string } {
  const node = inner.nodes.get(end)
  if (!node) return { doc: inner, slot: -1, name }
  const key = end === INPUT_NODE ? 'outputs' : 'inputs'
  const held = slots(node.raw[key])
  const called = unique(name, held.map((slot) => toText(slot.name)))
  const made: JsonObject = { id: newId(), name: called, type, linkIds: [], ...(end === INPUT_NODE ? { links: [] } : { link: null }) }
  return { doc: withNode(inner, setRaw(node, { [key]: [...held, made] })), slot: held.length, name: called }
}

/** Takes a socket off an end; its links inside go, those outside follow when the subgraph is put back. */
export function removeEnd(inner: Document, end: string, slot: number): Document {
  const node = inner.nodes.get(end)
  if (!node) return inner
  if (end === OUTPUT_NODE) return dropInput(inner, end, toText(slots(node.raw.inputs)[slot]?.name))
  const links = [...inner.links.values()].filter((link) => link.from === end && link.fromSlot === slot)
  let next = inner
  for (const link of links) {
    const target = next.nodes.get(link.to)
    if (target) next = withNode(next, setRaw(target, { inputs: slots(target.raw.inputs).map((each) => (String(each.link) === link.id ? { ...each, link: null } : each)) }))
  }
  const left = new Map([...next.links].filter(([id]) => !links.some((link) => link.id === id)))
  const held = next.nodes.get(end) as Node
  next = withNode({ ...next, links: left }, setRaw(held, { outputs: slots(held.raw.outputs).filter((_, at) => at !== slot) }))
  return renumber(next, (link) => (link.from === end && link.fromSlot > slot ? { fromSlot: link.fromSlot - 1 } : null))
}

/** Changes the places of a socket of an end and the one before or after it. */
export function moveEnd(inner: Document, end: string, slot: number, by: -1 | 1): Document {
  const node = inner.nodes.get(end)
  const key = end === INPUT_NODE ? 'outputs' : 'inputs'
  const held = slots(node?.raw[key])
  const [one, other] = [held[slot], held[slot + by]]
  if (!node || !one || !other) return inner
  const place = (at: number): number => (at === slot ? slot + by : at === slot + by ? slot : at)
  const next = withNode(inner, setRaw(node, { [key]: held.map((_, at) => held[place(at)] as JsonObject) }))
  return renumber(next, (link) => (end === INPUT_NODE ? (link.from === end ? { fromSlot: place(link.fromSlot) } : null) : link.to === end ? { toSlot: place(link.toSlot) } : null))
}

export function renameEnd(inner: Document, end: string, slot: number, label: string): Document {
  const node = inner.nodes.get(end)
  const key = end === INPUT_NODE ? 'outputs' : 'inputs'
  if (!node) return inner
  return withNode(inner, setRaw(node, { [key]: slots(node.raw[key]).map((each, at) => (at === slot ? { ...each, label } : each)) }))
}

/** The file without subgraphs that nothing uses; of those, only the ones asked about. */
export function dropUnused(root: Document, ids: readonly string[]): Document {
  const held = root.file.definitions
  if (typeof held !== 'object' || held === null || !('subgraphs' in held) || !isArray(held.subgraphs)) return root
  const all = subgraphsOf(root.file)
  const used = new Set([...root.nodes.values()].map((node) => node.type))
  for (const subgraph of all.values()) for (const node of slots(subgraph.raw.nodes)) used.add(toText(node.type))
  const left = held.subgraphs.filter((each) => !ids.some((id) => !used.has(id) && all.get(id)?.raw === each))
  return left.length === held.subgraphs.length ? root : { ...root, file: { ...root.file, definitions: { ...held, subgraphs: left } } }
}
