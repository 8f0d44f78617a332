/** Every open workflow has its own slot in this browser. A slot belongs to one window at a time. */
import { indentOf, isObject, parseJson, writeJson, type Json, type JsonObject } from '../io/json'
import { bindDocument, readUi, writeUi } from '../io/ui'
import { t } from '../i18n'
import { readCameras, useCameras, writeCameras } from './cameras'
import { serverDefinitions, useDefinitions } from './server'
import { activate, isUnsaved, mapDocuments, openTab, useDocuments, type Tab } from './documents'
import { dropSlot, keepSlot, readSlots } from './slots'
import { tell } from './view'

const SLOT = 'darkroom.doc.'
const TABS = 'darkroom.tabs'
const written = new Map<string, { present: unknown; saved: unknown; name: string; cameras: unknown }>()
const held = new Map<string, () => void>()

/** Takes hold of a slot; false if another window has it. */
function claim(id: string): Promise<boolean> {
  const locks = (navigator as { locks?: LockManager }).locks
  if (!locks || held.has(id)) return Promise.resolve(true)
  return new Promise((resolve) => {
    void locks.request(SLOT + id, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(false)
      resolve(true)
      return new Promise<void>((release) => held.set(id, release))
    })
  })
}

function write(tab: Tab): void {
  const before = written.get(tab.id)
  const cameras = useCameras.getState()[tab.id]
  if (before && before.present === tab.history.present && before.saved === tab.saved && before.name === tab.name && before.cameras === cameras) return
  const slot: JsonObject = {
    name: tab.name,
    path: tab.path,
    stored: tab.stored,
    indent: tab.indent,
    ...(tab.source ? { source: tab.source } : {}),
    unsaved: isUnsaved(tab),
    at: Date.now(),
    cameras: writeCameras(tab.id),
    file: writeUi(tab.history.present, serverDefinitions()) as Json,
  }
  keepSlot(tab.id, writeJson(slot)).catch(() => tell(t('say.storageFull'), 'error'))
  written.set(tab.id, { present: tab.history.present, saved: tab.saved, name: tab.name, cameras })
}

export function saveSlots(): void {
  const { tabs, active } = useDocuments.getState()
  for (const tab of tabs) write(tab)
  for (const id of [...written.keys()])
    if (!tabs.some((tab) => tab.id === id)) {
      written.delete(id)
      dropSlot(id)
      held.get(id)?.()
      held.delete(id)
    }
  try {
    sessionStorage.setItem(TABS, JSON.stringify({ ids: tabs.map((tab) => tab.id), active }))
  } catch {
    // which tab was open in front is forgotten, nothing else
  }
}

function sessionTabs(): { ids: string[]; active: string } {
  try {
    return { ids: [], active: '', ...(JSON.parse(sessionStorage.getItem(TABS) ?? '{}') as object) }
  } catch {
    return { ids: [], active: '' }
  }
}

/** Opens what this window had, and what windows that are gone left unsaved. Gives how many. */
export async function restore(): Promise<number> {
  const mine = sessionTabs()
  const slots = await readSlots(ageOf)
  const all = [...slots.keys()]
  let opened = 0
  for (const id of [...mine.ids.filter((each) => all.includes(each)), ...all.filter((each) => !mine.ids.includes(each)).sort()]) {
    if (!(await claim(id))) continue
    if (reopen(id, slots.get(id) ?? '')) opened++
  }
  if (mine.active && useDocuments.getState().tabs.some((tab) => tab.id === mine.active)) activate(mine.active)
  return opened
}

function ageOf(text: string): number {
  try {
    const slot = parseJson(text)
    return isObject(slot) ? Number(slot.at) || 0 : 0
  } catch {
    return -1
  }
}

function reopen(id: string, text: string): boolean {
  try {
    const slot = parseJson(text)
    if (!isObject(slot) || !isObject(slot.file)) return false
    openTab(readUi(slot.file, serverDefinitions()), {
      id,
      name: String(slot.name),
      path: typeof slot.path === 'string' ? slot.path : null,
      stored: Number(slot.stored),
      indent: Number(slot.indent) || indentOf(text),
      source: typeof slot.source === 'string' ? slot.source : '',
      saved: slot.unsaved !== true,
    })
    readCameras(id, slot.cameras)
    return true
  } catch {
    return false // a slot that cannot be read is left where it is
  }
}

export function startAutosave(): () => void {
  for (const tab of useDocuments.getState().tabs) void claim(tab.id)
  let timer = 0
  const now = (): void => {
    clearTimeout(timer)
    timer = 0
    saveSlots()
  }
  const soon = (): void => {
    if (!timer) timer = window.setTimeout(now, 400)
  }
  const stop = useDocuments.subscribe((state) => {
    for (const tab of state.tabs) if (!held.has(tab.id)) void claim(tab.id)
    soon()
  })
  const stopLooking = useCameras.subscribe(soon)
  const stopBinding = useDefinitions.subscribe((state) => mapDocuments((doc) => bindDocument(doc, state.definitions)))
  window.addEventListener('pagehide', now)
  document.addEventListener('visibilitychange', now)
  now()
  return () => {
    stop()
    stopLooking()
    stopBinding()
    window.removeEventListener('pagehide', now)
    document.removeEventListener('visibilitychange', now)
  }
}
