/** The open workflows and their histories. Every change of a document goes through here. */
import { create } from 'zustand'
import { begin, commit as commitStep, mapHistory, redo as redoStep, undo as undoStep, type History } from '../model/history'
import type { Document } from '../model/document'

export interface Tab {
  readonly id: string
  readonly name: string
  /** Where the server keeps it, and when it was stored there. */
  readonly path: string | null
  readonly stored: number
  readonly indent: number
  readonly history: History<Document>
  readonly saved: Document | null
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
export const activeDoc = (): Document | undefined => activeTab()?.history.present

export const useTab = (): Tab | undefined => useDocuments((state) => state.tabs.find((tab) => tab.id === state.active))
export const useDoc = (): Document | undefined => useDocuments((state) => state.tabs.find((tab) => tab.id === state.active)?.history.present)

export function changeTab(id: string, change: (tab: Tab) => Tab): void {
  useDocuments.setState((state) => ({ tabs: state.tabs.map((tab) => (tab.id === id ? change(tab) : tab)) }))
}

/** One step on in the open document. Steps with the same key soon after each other become one. */
export function commit(name: string, edit: (doc: Document) => Document, key = ''): void {
  const tab = activeTab()
  if (!tab) return
  const next = edit(tab.history.present)
  if (next === tab.history.present) return
  changeTab(tab.id, (old) => ({ ...old, history: commitStep(old.history, next, name, key, performance.now()) }))
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

export function openTab(doc: Document, about: { name: string; path?: string | null; stored?: number; indent?: number; saved?: boolean; id?: string }): string {
  const id = about.id ?? newId()
  const tab: Tab = { id, name: about.name, path: about.path ?? null, stored: about.stored ?? 0, indent: about.indent ?? 0, history: begin(doc), saved: about.saved === false ? null : doc }
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
}

export const activate = (id: string): void => useDocuments.setState({ active: id })
export const isUnsaved = (tab: Tab): boolean => tab.saved !== tab.history.present
