/** What commands do to the selection. */
import { t } from '../i18n'
import { copyNodes, pasteNodes, readNodes } from '../io/clipboard'
import type { JsonObject } from '../io/json'
import { BUILTIN } from '../model/builtin'
import type { NodeDef } from '../model/definitions'
import { BYPASSED, flagOf, modeOf, MUTED, slots, TITLE_HEIGHT, type Document, type Point } from '../model/document'
import { membersOf } from '../model/groups'
import { align, arrange, distribute, type Side } from '../model/layout'
import { removeReroutes, reroutesOf } from '../model/reroutes'
import { holds, isEnd } from '../model/subgraphs'
import { moveNodes, removeGroup, removeLinks, removeNodes, setFlag, setMode } from '../model/edit'
import { add, frameAround } from '../graph/actions'
import { focusNode, pointed, sizeOf } from '../graph/camera'
import { dotOf, frameOf, isDot, isFrame } from '../graph/toFlow'
import { definitions } from '../state/definitions'
import { activeDoc, activeTab, commit, shownOf } from '../state/documents'
import { say, select, selected, tell } from '../state/view'

const nodesSelected = (): string[] => [...selected()].filter((id) => activeDoc()?.nodes.has(id))

/** Whether what is selected by this id is in the graph still. */
export function isThere(id: string): boolean {
  const doc = activeDoc()
  if (!doc) return false
  return isDot(id) ? reroutesOf(doc).has(dotOf(id)) : isFrame(id) ? frameOf(id) < doc.groups.length : doc.nodes.has(id)
}

export function removeSelected(): void {
  const doc = activeDoc()
  const picked = new Set([...selected()].filter((id) => !isEnd(id)))
  if (!doc || !picked.size) return
  const next = [...picked].map((id) => [...doc.links.values()].find((link) => link.to === id)?.from).find((id) => id !== undefined && !picked.has(id))
  const frames = [...picked].filter(isFrame).map(frameOf).sort((a, b) => b - a)
  const dots = new Set([...picked].filter(isDot).map(dotOf))
  commit(t('do.delete'), (now) => frames.reduce(removeGroup, removeNodes(removeReroutes(now, dots), picked)))
  select(next !== undefined ? [next] : [])
  say(t('say.deleted'))
  // focus must not fall to the body, or the canvas goes deaf
  requestAnimationFrame(() => (next !== undefined ? focusNode(next) : document.getElementById('canvas')?.focus()))
}

/** The selected nodes, and those in selected frames. */
function nodesMeant(): string[] {
  const doc = activeDoc()
  if (!doc) return []
  const inFrames = [...selected()].filter(isFrame).flatMap((id) => [...membersOf(doc, frameOf(id), sizeOf).nodes])
  return [...new Set([...nodesSelected(), ...inFrames])]
}

export function toggleMode(mode: typeof MUTED | typeof BYPASSED): void {
  const doc = activeDoc()
  const ids = nodesMeant().filter((id) => !isEnd(id))
  if (!doc || !ids.length) return
  const all = ids.every((id) => modeOf(doc.nodes.get(id) as never) === mode)
  commit(t(mode === MUTED ? 'do.mute' : 'do.bypass'), (now) => setMode(now, ids, all ? 0 : mode))
}

export function toggleFlag(flag: 'collapsed' | 'pinned'): void {
  const doc = activeDoc()
  const ids = nodesSelected().filter((id) => !isEnd(id))
  if (!doc || !ids.length) return
  const all = ids.every((id) => flagOf(doc.nodes.get(id) as never, flag))
  commit(t(flag === 'collapsed' ? 'do.collapse' : 'do.pin'), (now) => setFlag(now, ids, flag, !all))
}

export function groupSelected(): void {
  const doc = activeDoc()
  if (!doc) return
  frameAround(
    nodesSelected().map((id) => {
      const [x, y] = doc.nodes.get(id)?.pos ?? [0, 0]
      const [width, height] = sizeOf(id)
      return [x, y - TITLE_HEIGHT, width, height] as const
    }),
    'Group',
  )
}

export function addNote(place: Point = pointed()): void {
  add(BUILTIN.get('Note') as NodeDef, place, null)
}

let copied = ''

export function copySelected(): string {
  const doc = activeDoc()
  const ids = nodesMeant().filter((id) => !isEnd(id))
  const frames = [...selected()].filter(isFrame).map(frameOf)
  if (!doc || !(ids.length || frames.length)) return ''
  copied = copyNodes(doc, new Set(ids), definitions(), frames)
  tell(ids.length === 1 ? t('say.copiedOne') : t('say.copied', { count: ids.length }))
  return copied
}

/** Puts copied nodes in. Gives whether the text was any. */
export function pasteText(text: string, incoming: boolean): boolean {
  const file = readNodes(text)
  if (!file) return false
  paste(file, incoming, pointed())
  return true
}

function paste(file: JsonObject, incoming: boolean, at: Point | null = null, name: string = t('do.paste')): void {
  const here = shownOf(activeTab())?.subgraphs.at(-1)?.id
  const doc = activeDoc()
  if (here !== undefined && doc && slots(file.nodes).some((node) => holds(doc.file, String(node.type), here))) return tell(t('refuse.itself'), 'error')
  let ids = new Set<string>()
  commit(name, (doc) => {
    const done = pasteNodes(doc, file, definitions(), at, incoming)
    ids = done.ids
    return done.doc
  })
  select(ids)
}

export async function pasteLinked(): Promise<void> {
  const text = await navigator.clipboard.readText().catch(() => copied)
  pasteText(text || copied, true)
}

export function duplicate(): void {
  const doc = activeDoc()
  const ids = nodesSelected()
  const file = doc && ids.length ? readNodes(copyNodes(doc, new Set(ids), definitions())) : null
  if (file) paste(file, true, null, t('do.duplicate'))
}

/** Puts copies of nodes at a place, with the links that come into them: what Alt+drag lets go of. */
export function duplicateAt(ids: ReadonlySet<string>, at: Point): void {
  const doc = activeDoc()
  const file = doc ? readNodes(copyNodes(doc, ids, definitions())) : null
  if (file) paste(file, true, at, t('do.duplicate'))
}

export function arrangeNodes(): void {
  const ids = new Set(nodesSelected())
  commit(t('do.arrange'), (doc) => arrange(doc, sizeOf, ids.size > 1 ? ids : undefined))
}

export function alignNodes(side: Side): void {
  commit(t('do.align'), (doc) => align(doc, nodesSelected(), side, sizeOf))
}

export function distributeNodes(isAcross: boolean): void {
  commit(t('do.align'), (doc) => distribute(doc, nodesSelected(), isAcross, sizeOf))
}

export function nudge(by: Point): void {
  const doc = activeDoc()
  const ids = nodesSelected()
  if (!doc || !ids.length) return
  const places = new Map(ids.map((id) => [id, [(doc.nodes.get(id)?.pos[0] ?? 0) + by[0], (doc.nodes.get(id)?.pos[1] ?? 0) + by[1]] as Point]))
  commit(t('do.move'), (now) => moveNodes(now, places), `nudge ${ids.join()}`)
}

export function disconnectAll(doc: Document, id: string): Document {
  return removeLinks(doc, [...doc.links.values()].filter((link) => link.from === id || link.to === id).map((link) => link.id))
}
