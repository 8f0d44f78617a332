/** The open workflows and their histories. Every change of a document goes through here. */
import { create } from 'zustand'
import { begin, commit as commitStep, mapHistory, redo as redoStep, undo as undoStep, type History } from '../model/history'
import { toText } from '../io/json'
import type { Definitions } from '../model/definitions'
import { titleOf, type Document, type Node } from '../model/document'
import { graphOf, nodeAt, openSubgraph, putSubgraph } from '../model/subgraphs'
import { dropCamera, openCamera } from './cameras'
import { serverDefinitions } from './server'

export interface Tab {
  readonly id: string
  readonly name: string
  /** Where the server keeps it, and when it was stored there. */
  readonly path: string | null
  readonly stored: number
  readonly indent: number
  /** The text it was opened from, if that is not how we would write it; else empty. */
  readonly source: string
  readonly history: History<Document>
  readonly saved: Document | null
  /** The subgraph that is looked at: the instances on the way to it. */
  readonly within: readonly string[]
}

interface State {
  readonly tabs: readonly Tab[]
  readonly active: string
}

export const useDocuments = create<State>(() => ({ tabs: [], active: '' }))

export const newId = (): string => (typeof crypto.randomUUID === 'function' ? crypto.randomUUID() : `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`)

export const activeTab = (): Tab | undefined => {
  const { tabs, active } = useDocuments.getState()
  return tabs.find((tab) => tab.id === active)
}
export const tabOf = (id: string): Tab | undefined => useDocuments.getState().tabs.find((tab) => tab.id === id)
/** The graph that is looked at: the workflow, or the inside of one of its subgraphs. */
export const activeDoc = (): Document | undefined => shownOf(activeTab())?.doc

export const useTab = (): Tab | undefined => useDocuments((state) => state.tabs.find((tab) => tab.id === state.active))
export const useDoc = (): Document | undefined => useDocuments((state) => shownOf(state.tabs.find((tab) => tab.id === state.active))?.doc)
/** What ids of nodes begin with in the server's words, where the graph that is looked at is a subgraph: `12:`. */
export const usePrefix = (): string => useDocuments((state) => shownOf(state.tabs.find((tab) => tab.id === state.active))?.prefix ?? '')

export interface Shown {
  readonly doc: Document
  readonly prefix: string
  /** The subgraphs on the way, and the instances by which one gets there. */
  readonly subgraphs: readonly { readonly id: string; readonly instance: string; readonly name: string }[]
}

const looks = new WeakMap<Document, Map<string, Shown>>()

/** The graph at the end of a tab's path, or as far along it as there is any. */
export function shownOf(tab: Tab | undefined): Shown | undefined {
  if (!tab) return undefined
  const root = tab.history.present
  const server = serverDefinitions()
  const key = tab.within.join('/')
  const kept = looks.get(root)?.get(key)
  if (kept && (!tab.within.length || kept.doc === deepest(root, kept, server))) return kept
  let doc = root
  const subgraphs: Shown['subgraphs'][number][] = []
  for (const instance of tab.within) {
    const node = doc.nodes.get(instance)
    const inner = node && openSubgraph(root, node.type, server)
    if (!node || !inner) break
    subgraphs.push({ id: node.type, instance, name: titleOf(node) || toText(inner.file.name) })
    doc = inner
  }
  const made: Shown = { doc, prefix: subgraphs.map(({ instance }) => `${instance}:`).join(''), subgraphs }
  const held = looks.get(root) ?? new Map<string, Shown>()
  looks.set(root, held.set(key, made))
  return made
}

function deepest(root: Document, shown: Shown, server: Definitions): Document | null {
  const last = shown.subgraphs.at(-1)
  return last ? openSubgraph(root, last.id, server) : root
}

export function changeTab(id: string, change: (tab: Tab) => Tab): void {
  useDocuments.setState((state) => ({ tabs: state.tabs.map((tab) => (tab.id === id ? change(tab) : tab)) }))
}

/** One step on in the open document. Steps with the same key soon after each other become one. */
export function commit(name: string, edit: (doc: Document) => Document, key = ''): void {
  const tab = activeTab()
  const shown = shownOf(tab)
  if (!tab || !shown) return
  const subgraph = shown.subgraphs.at(-1)?.id
  if (subgraph === undefined) return commitFile(name, edit, key)
  const next = edit(shown.doc)
  if (next !== shown.doc) commitFile(name, (root) => putSubgraph(root, subgraph, next, serverDefinitions()), key)
}

/** One step on in the graph that holds the node called so, as seen from the one that is looked at: `12:3` is in a subgraph. */
export function commitAt(id: string, name: string, edit: (doc: Document, id: string) => Document, key = ''): void {
  const doc = activeDoc()
  if (!doc || doc.nodes.has(id)) return commit(name, (now) => edit(now, id), key)
  const held = graphOf(doc, id, serverDefinitions())
  const next = held && edit(held.doc, id.split(':').at(-1) ?? id)
  if (held && next && next !== held.doc) commitFile(name, (root) => putSubgraph(root, held.subgraph, next, serverDefinitions()), key)
}

/** A node by its name as seen from the graph that is looked at. */
export function nodeCalled(id: string): Node | undefined {
  const doc = activeDoc()
  return doc && nodeAt(doc, id, serverDefinitions())
}

/** One step on in the whole file, whatever part of it is looked at. */
export function commitFile(name: string, edit: (root: Document) => Document, key = ''): void {
  const tab = activeTab()
  if (!tab) return
  const next = edit(tab.history.present)
  if (next === tab.history.present) return
  changeTab(tab.id, (old) => ({ ...old, history: commitStep(old.history, next, name, key, performance.now()) }))
}

/** One step to what the server keeps now, of a tab that need not be the active one. */
export function replaceDocument(id: string, doc: Document, name: string, about: { readonly stored: number; readonly source: string }): void {
  changeTab(id, (old) => ({ ...old, ...about, saved: doc, history: commitStep(old.history, doc, name) }))
}

/** Changes a document without a step, as when a run picks its seed. */
export function amend(id: string, edit: (doc: Document) => Document): void {
  changeTab(id, (tab) => {
    const present = edit(tab.history.present)
    if (present === tab.history.present) return tab
    const saved = tab.saved === tab.history.present ? present : tab.saved
    return { ...tab, saved, history: { ...tab.history, present, merge: null } }
  })
}

/** Changes all documents of all histories, as when node types become known. */
export function mapDocuments(change: (doc: Document) => Document): void {
  const made = new Map<Document, Document>()
  const once = (doc: Document): Document => {
    if (!made.has(doc)) made.set(doc, change(doc))
    return made.get(doc) as Document
  }
  useDocuments.setState((state) => ({
    tabs: state.tabs.map((tab) => ({ ...tab, history: mapHistory(tab.history, once), saved: tab.saved && once(tab.saved) })),
  }))
}

export function undo(): string {
  const tab = activeTab()
  const name = tab?.history.past.at(-1)?.name ?? ''
  if (tab && name) changeTab(tab.id, (old) => ({ ...old, history: undoStep(old.history) }))
  return name
}

export function redo(): string {
  const tab = activeTab()
  const name = tab?.history.future[0]?.name ?? ''
  if (tab && name) changeTab(tab.id, (old) => ({ ...old, history: redoStep(old.history) }))
  return name
}

export function openTab(doc: Document, about: { name: string; path?: string | null; stored?: number; indent?: number; source?: string; saved?: boolean; id?: string }): string {
  const id = about.id ?? newId()
  const tab: Tab = { id, name: about.name, path: about.path ?? null, stored: about.stored ?? 0, indent: about.indent ?? 0, source: about.source ?? '', history: begin(doc), saved: about.saved === false ? null : doc, within: [] }
  openCamera(id, doc.file)
  useDocuments.setState((state) => ({ tabs: [...state.tabs, tab], active: id }))
  return id
}

export function closeTab(id: string): void {
  useDocuments.setState((state) => {
    const at = state.tabs.findIndex((tab) => tab.id === id)
    const tabs = state.tabs.filter((tab) => tab.id !== id)
    const active = state.active === id ? (tabs[Math.min(at, tabs.length - 1)]?.id ?? '') : state.active
    return { tabs, active }
  })
  dropCamera(id)
}

/** Puts a tab at a place among the others, counted from 0. */
export function moveTab(id: string, place: number): void {
  useDocuments.setState((state) => {
    const moved = state.tabs.find((tab) => tab.id === id)
    const rest = state.tabs.filter((tab) => tab.id !== id)
    const to = Math.max(0, Math.min(place, rest.length))
    return moved && state.tabs[to] !== moved ? { tabs: [...rest.slice(0, to), moved, ...rest.slice(to)] } : {}
  })
}

/** Looks at the inside of an instance, or out again as far as `depth`. */
export const enter = (instance: string): void => goInto((path) => [...path, instance])
export const leave = (depth: number): void => goInto((path) => path.slice(0, depth))

function goInto(change: (path: readonly string[]) => readonly string[]): void {
  const tab = activeTab()
  if (tab) changeTab(tab.id, (old) => ({ ...old, within: change(old.within) }))
}

export const activate = (id: string): void => useDocuments.setState({ active: id })
export const isUnsaved = (tab: Tab): boolean => tab.saved !== tab.history.present
