/** What the graph's own gestures do to the document. */
import { inputName, t } from '../i18n'
import type { Json } from '../io/json'
import { isArray } from '../io/json'
import type { Verdict } from '../model/connect'
import { canConnect, nameOf, portsOf } from '../model/connect'
import { TITLE_HEIGHT, type Document, type Node, type Point } from '../model/document'
import { addGroup, addNode, connect, moveNodes, removeLinks, rename, resizeNode, setGroup, setRaw, setValue, withNode, type Ends } from '../model/edit'
import type { NodeDef } from '../model/definitions'
import { nodeName } from '../i18n'
import { definitions } from '../state/definitions'
import { activeDoc, commit } from '../state/documents'
import { setSettings, useSettings } from '../state/settings'
import { say, select, tell } from '../state/view'
import { standardSize } from './size'

export const setField = (node: string, input: string, value: Json): void => commit(t('do.set', { input: inputName(input) }), (doc) => setValue(doc, node, input, value), `value ${node} ${input}`)

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

export function move(places: ReadonlyMap<string, Point>, key = ''): void {
  if (places.size) commit(t('do.move'), (doc) => moveNodes(doc, places), key)
}

/** Why a connection is refused, in words. */
export function reasonOf(doc: Document, ends: Ends, verdict: Verdict): string {
  if (verdict.ok) return ''
  const defs = definitions()
  const from = doc.nodes.get(ends.from)
  const to = doc.nodes.get(ends.to)
  return t(`refuse.${verdict.reason}`, {
    fromName: from ? nameOf(from, doc, defs) : '',
    toName: to ? nameOf(to, doc, defs) : '',
    given: verdict.given,
    wanted: verdict.wanted,
    input: inputName(verdict.input),
  })
}

export function join(ends: Ends, replaced?: string): boolean {
  const doc = activeDoc()
  if (!doc) return false
  const base = replaced ? removeLinks(doc, [replaced]) : doc
  const verdict = canConnect(base, definitions(), ends)
  if (!verdict.ok) {
    tell(reasonOf(doc, ends, verdict), 'error')
    return false
  }
  const source = base.nodes.get(ends.from) as Node
  const target = base.nodes.get(ends.to) as Node
  const type = portsOf(source, definitions()).outputs[ends.fromSlot]?.type ?? '*'
  commit(t('do.connect', { type }), (now) => connect(replaced ? removeLinks(now, [replaced]) : now, ends, definitions().get(target.type), type))
  say(t('say.connected', { from: nameOf(source, doc, definitions()), to: nameOf(target, doc, definitions()) }))
  return true
}

export function cut(links: readonly string[]): void {
  commit(t('do.disconnect'), (doc) => removeLinks(doc, links))
  say(t('say.disconnected'))
}

/** Adds a node, and the link it was asked for with, in one step. */
export function add(def: NodeDef, place: Point, pending: { from?: string; fromSlot?: number; to?: string; input?: string } | null): string {
  let made = ''
  commit(t('do.add', { name: nodeName(def) }), (doc) => {
    const added = addNode(doc, def, [Math.round(place[0]), Math.round(place[1]) + TITLE_HEIGHT], standardSize(def))
    made = added.id
    return pending ? attach(added.doc, added.id, def, pending) : added.doc
  })
  if (made) select([made])
  setSettings({ recent: [def.type, ...useSettings.getState().recent.filter((type) => type !== def.type)].slice(0, 12) })
  return made
}

function attach(doc: Document, id: string, def: NodeDef, pending: { from?: string; fromSlot?: number; to?: string; input?: string }): Document {
  const defs = definitions()
  if (pending.from !== undefined && pending.fromSlot !== undefined) {
    const source = doc.nodes.get(pending.from)
    const type = source ? (portsOf(source, defs).outputs[pending.fromSlot]?.type ?? '*') : '*'
    const ends = (input: string): Ends => ({ from: pending.from as string, fromSlot: pending.fromSlot as number, to: id, input })
    const fitting = def.inputs.filter((input) => canConnect(doc, defs, ends(input.name)).ok)
    const input = fitting.find((each) => each.type === type && !each.widget) ?? fitting.find((each) => !each.widget) ?? fitting[0]
    return input ? connect(doc, ends(input.name), def, type) : doc
  }
  if (pending.to === undefined || pending.input === undefined) return doc
  const target = doc.nodes.get(pending.to)
  const slot = def.outputs.findIndex((_, at) => canConnect(doc, defs, { from: id, fromSlot: at, to: pending.to as string, input: pending.input as string }).ok)
  if (!target || slot < 0) return doc
  return connect(doc, { from: id, fromSlot: slot, to: pending.to, input: pending.input }, defs.get(target.type), def.outputs[slot]?.type ?? '*')
}

export function moveFrame(index: number, by: Point, inside: ReadonlySet<string>): void {
  commit(t('do.move'), (doc) => {
    const group = doc.groups[index]
    if (!group) return doc
    const [x, y, width, height] = group.box
    const places = new Map<string, Point>()
    for (const id of inside) {
      const node = doc.nodes.get(id)
      if (node) places.set(id, [node.pos[0] + by[0], node.pos[1] + by[1]])
    }
    return setGroup(moveNodes(doc, places), index, { box: [x + by[0], y + by[1], width, height] })
  })
}

export function frameAround(boxes: readonly (readonly [number, number, number, number])[], title: string): void {
  if (!boxes.length) return
  const left = Math.min(...boxes.map((box) => box[0])) - 16
  const top = Math.min(...boxes.map((box) => box[1])) - 46
  const right = Math.max(...boxes.map((box) => box[0] + box[2])) + 16
  const bottom = Math.max(...boxes.map((box) => box[1] + box[3])) + 16
  commit(t('do.group'), (doc) => addGroup(doc, title, [left, top, right - left, bottom - top].map(Math.round) as [number, number, number, number], '#b98a4a'))
}
