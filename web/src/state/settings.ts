/** What the user likes; kept in this browser. */
import { create } from 'zustand'

export type Language = 'en' | 'zh'
export type Theme = 'system' | 'dark' | 'light'

interface Settings {
  readonly language: Language
  readonly theme: Theme
  readonly sideOpen: boolean
  readonly letterKeys: boolean
  /** Of bars, panels and dialogs; the graph has its own zoom. */
  readonly scale: number
  /** Pixels of the letters in prompt boxes. */
  readonly promptSize: number
  readonly previews: boolean
  /** The user's own keys, by command. */
  readonly keys: Readonly<Record<string, readonly string[]>>
  readonly recent: readonly string[]
  /** Jobs that were taken off the list: those that had ended by then, and single ones. Their pictures stay. */
  readonly cleared: { readonly before: number; readonly ids: readonly string[] }
}

const KEY = 'darkroom.settings'

function load(): Settings {
  const standard: Settings = { language: (globalThis.navigator?.language ?? 'en').toLowerCase().startsWith('zh') ? 'zh' : 'en', theme: 'system', sideOpen: true, letterKeys: true, scale: 1, promptSize: 13, previews: true, keys: {}, recent: [], cleared: { before: 0, ids: [] } }
  try {
    return { ...standard, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Settings>) }
  } catch {
    return standard
  }
}

export const useSettings = create<Settings>(load)

export function setSettings(change: Partial<Settings>): void {
  useSettings.setState(change)
  try {
    localStorage.setItem(KEY, JSON.stringify(useSettings.getState()))
  } catch {
    // private windows may have no storage; the setting holds until the page closes
  }
}

const light = (): MediaQueryList => matchMedia('(prefers-color-scheme: light)')

export const isLight = (): boolean => {
  const { theme } = useSettings.getState()
  return theme === 'light' || (theme === 'system' && light().matches)
}

/** Puts what is set onto the page. */
export function applySettings(): void {
  const { language, scale, promptSize } = useSettings.getState()
  const root = document.documentElement
  root.dataset.theme = isLight() ? 'light' : 'dark'
  root.lang = language === 'zh' ? 'zh-CN' : 'en'
  root.style.setProperty('--scale', String(scale))
  root.style.setProperty('--prompt', `${promptSize}px`)
}

/** Keeps the page as it is set, and follows the system where that is wanted. */
export function startSettings(): void {
  applySettings()
  useSettings.subscribe(applySettings)
  light().addEventListener('change', applySettings)
}
