/** What the graph's own gestures do to the document. */
import { inputName, nameShown, t } from '../i18n'
import type { Json, JsonObject } from '../io/json'
import { isArray } from '../io/json'
import type { Verdict } from '../model/connect'
import { canConnect, portsOf } from '../model/connect'
import { inputsOf, TITLE_HEIGHT, type Document, type Node, type Point } from '../model/document'
import { addGroup, addNode, connect, moveNodes, removeLinks, rename, resizeNode, setRaw, setValue, withNode, type Ends } from '../model/edit'
import type { NodeDef } from '../model/definitions'
import { bindPrimitives } from '../model/primitive'
import { moveGroup, type Members } from '../model/groups'
import { addReroute, moveReroutes } from '../model/reroutes'
import { nodeName } from '../i18n'
import { definitions } from '../state/definitions'
import { INPUT_NODE, OUTPUT_NODE } from '../model/library'
import { addEnd, moveEnd, removeEnd, renameEnd } from '../model/subgraphEdit'
import { dropInput, holds, isEnd } from '../model/subgraphs'
import { activeDoc, activeTab, commit, commitAt, newId, shownOf } from '../state/documents'
import { setSettings, useSettings } from '../state/settings'
import { say, select, tell } from '../state/view'
import { linkPoints } from './camera'
import { stretchAt } from './curve'
import { defFor, isSpare } from '../model/varying'
import { standardSize } from './size'

export const setField = (node: string, input: string, value: Json): void => commitAt(node, t('do.set', { input: inputName(input) }), (doc, id) => withoutSpare(setValue(doc, id, input, value), id), `value ${node} ${input}`)

/** Several fields of a node, in one step. */
export const setFields = (node: string, values: JsonObject): void =>
  commitAt(node, t('do.set', { input: Object.keys(values).map(inputName).join(', ') }), (doc, id) => Object.entries(values).reduce((held, [input, value]) => withoutSpare(setValue(held, id, input, value), id), doc))

/** Another choice has other inputs: those that a node has no longer go, with their links. */
function withoutSpare(doc: Document, id: string): Document {
  const node = doc.nodes.get(id)
  const given = node && definitions().get(node.type)
  if (!node || !given?.inputs.some((input) => input.branches)) return doc
  const has = new Set(defFor(given, node)?.inputs.map((input) => input.name))
  const gone = inputsOf(node).map((slot) => slot.name).filter((name) => !has.has(name) && isSpare(given, name))
  return gone.reduce((held, name) => dropInput(held, id, name), doc)
}

export function setNote(node: string, text: string): void {
  commit(
    t('do.set', { input: t('node.note') }),
    (doc) => {
      const held = doc.nodes.get(node)
      if (!held) return doc
      const values = isArray(held.raw.widgets_values) ? held.raw.widgets_values : []
      return withNode(doc, setRaw(held, { widgets_values: [text, ...values.slice(1)] }))
    },
    `note ${node}`,
  )
}

export const changeTitle = (node: string, title: string): void => commit(t('do.rename'), (doc) => rename(doc, node, title))

export function resize(node: Node, size: { x: number; y: number; width: number; height: number }): void {
  commit(t('do.resize'), (doc) => resizeNode(doc, node.id, [Math.round(size.width), Math.round(size.height) - TITLE_HEIGHT]))
}

/** Nodes and points of links, moved together. */
export function moveAll(nodes: ReadonlyMap<string, Point>, dots: ReadonlyMap<string, Point>): void {
  commit(t('do.move'), (doc) => moveReroutes(moveNodes(doc, nodes), dots))
}

/** Puts a point on a link where somebody pointed at it. */
export function addDotAt(link: string, place: Point): void {
  const after = stretchAt(linkPoints(link), place)
  commit(t('do.reroute'), (doc) => addReroute(doc, link, place, after))
}

/** Why a connection is refused, in words. */
export function reasonOf(doc: Document, ends: Ends, verdict: Verdict): string {
  if (verdict.ok) return ''
  const defs = definitions()
  const from = doc.nodes.get(ends.from)
  const to = doc.nodes.get(ends.to)
  return t(`refuse.${verdict.reason}`, {
    fromName: from ? nameShown(from, doc, defs) : '',
    toName: to ? nameShown(to, doc, defs) : '',
    given: verdict.given,
    wanted: verdict.wanted,
    input: inputName(verdict.input),
  })
}

/** A link to the empty place at an end of a subgraph makes a socket there. */
function withEnd(doc: Document, ends: Ends): { doc: Document; ends: Ends } {
  const defs = definitions()
  if (ends.from === INPUT_NODE && !(ends.fromSlot >= 0)) {
    const target = doc.nodes.get(ends.to)
    const ports = target && portsOf(doc, target, defs)
    const port = [...(ports?.inputs ?? []), ...(ports?.widgets ?? [])].find((each) => each.name === ends.input)
    if (!port || isEnd(ends.to)) return { doc, ends }
    const made = addEnd(doc, INPUT_NODE, port.name, port.type, newId)
    return { doc: made.doc, ends: { ...ends, fromSlot: made.slot } }
  }
  if (ends.to === OUTPUT_NODE && ends.input === '+') {
    const source = doc.nodes.get(ends.from)
    const port = source && portsOf(doc, source, defs).outputs[ends.fromSlot]
    if (!port || isEnd(ends.from)) return { doc, ends }
    const made = addEnd(doc, OUTPUT_NODE, port.name || port.type, port.type, newId)
    return { doc: made.doc, ends: { ...ends, input: made.name } }
  }
  return { doc, ends }
}

export const labelEnd = (end: string, slot: number, label: string): void => commit(t('do.socket'), (doc) => renameEnd(doc, end, slot, label))
export const raiseEnd = (end: string, slot: number): void => commit(t('do.socket'), (doc) => moveEnd(doc, end, slot, -1))
export const takeEnd = (end: string, slot: number): void => commit(t('do.socket'), (doc) => removeEnd(doc, end, slot))

export function join(asked: Ends, replaced?: string): boolean {
  const doc = activeDoc()
  if (!doc) return false
  const { doc: base, ends } = withEnd(replaced ? removeLinks(doc, [replaced]) : doc, asked)
  const verdict = canConnect(base, definitions(), ends)
  if (!verdict.ok) {
    tell(reasonOf(doc, ends, verdict), 'error')
    return false
  }
  const source = base.nodes.get(ends.from) as Node
  const target = base.nodes.get(ends.to) as Node
  const type = portsOf(base, source, definitions()).outputs[ends.fromSlot]?.type ?? '*'
  commit(t('do.connect', { type }), () => bindPrimitives(connect(base, ends, definitions().get(target.type), type), definitions()))
  say(t('say.connected', { from: nameShown(source, doc, definitions()), to: nameShown(target, doc, definitions()) }))
  return true
}

export function cut(links: readonly string[]): void {
  commit(t('do.disconnect'), (doc) => removeLinks(doc, links))
  say(t('say.disconnected'))
}

/** Adds a node, and the link it was asked for with, in one step. */
/** A new card, in one step with what it is linked to and what is set on it. */
export function add(def: NodeDef, place: Point, pending: { from?: string; fromSlot?: number; to?: string; input?: string } | null, given: Readonly<Record<string, Json>> = {}): string {
  const here = shownOf(activeTab())?.subgraphs.at(-1)?.id
  const open = activeDoc()
  if (here !== undefined && open && holds(open.file, def.type, here)) {
    tell(t('refuse.itself'), 'error')
    return ''
  }
  let made = ''
  commit(t('do.add', { name: nodeName(def) }), (doc) => {
    const added = addNode(doc, def, [Math.round(place[0]), Math.round(place[1]) + TITLE_HEIGHT], standardSize(def))
    made = added.id
    const filled = Object.entries(given).reduce((held, [input, value]) => setValue(held, made, input, value), added.doc)
    return bindPrimitives(pending ? attach(filled, made, def, pending) : filled, definitions())
  })
  if (made) select([made])
  setSettings({ recent: [def.type, ...useSettings.getState().recent.filter((type) => type !== def.type)].slice(0, 12) })
  return made
}

function attach(doc: Document, id: string, def: NodeDef, pending: { from?: string; fromSlot?: number; to?: string; input?: string }): Document {
  const defs = definitions()
  if (pending.from !== undefined && pending.fromSlot !== undefined) {
    const source = doc.nodes.get(pending.from)
    const type = source ? (portsOf(doc, source, defs).outputs[pending.fromSlot]?.type ?? '*') : '*'
    const ends = (input: string): Ends => ({ from: pending.from as string, fromSlot: pending.fromSlot as number, to: id, input })
    const node = doc.nodes.get(id)
    const fitting = ((node && defFor(def, node)) ?? def).inputs.filter((input) => canConnect(doc, defs, ends(input.name)).ok)
    const input = fitting.find((each) => each.type === type && !each.widget) ?? fitting.find((each) => !each.widget) ?? fitting[0]
    return input ? connect(doc, ends(input.name), def, type) : doc
  }
  if (pending.to === undefined || pending.input === undefined) return doc
  const target = doc.nodes.get(pending.to)
  const slot = def.outputs.findIndex((_, at) => canConnect(doc, defs, { from: id, fromSlot: at, to: pending.to as string, input: pending.input as string }).ok)
  if (!target || slot < 0) return doc
  return connect(doc, { from: id, fromSlot: slot, to: pending.to, input: pending.input }, defs.get(target.type), def.outputs[slot]?.type ?? '*')
}

export function moveFrame(index: number, by: Point, members: Members): void {
  if (by[0] || by[1]) commit(t('do.move'), (doc) => moveGroup(doc, index, by, members))
}

export function frameAround(boxes: readonly (readonly [number, number, number, number])[], title: string): void {
  if (!boxes.length) return
  const left = Math.min(...boxes.map((box) => box[0])) - 16
  const top = Math.min(...boxes.map((box) => box[1])) - 46
  const right = Math.max(...boxes.map((box) => box[0] + box[2])) + 16
  const bottom = Math.max(...boxes.map((box) => box[1] + box[3])) + 16
  commit(t('do.group'), (doc) => addGroup(doc, title, [left, top, right - left, bottom - top].map(Math.round) as [number, number, number, number], '#b98a4a'))
}
