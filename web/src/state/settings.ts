/** What the user likes; kept in this browser. */
import { create } from 'zustand'

export type Language = 'en' | 'zh'
export type Theme = 'system' | 'dark' | 'light'

interface Settings {
  readonly language: Language
  readonly theme: Theme
  readonly sideOpen: boolean
  readonly letterKeys: boolean
  readonly recent: readonly string[]
}

const KEY = 'darkroom.settings'

function load(): Settings {
  const standard: Settings = { language: navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en', theme: 'system', sideOpen: true, letterKeys: true, recent: [] }
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

export function applyTheme(): void {
  const { theme, language } = useSettings.getState()
  const root = document.documentElement
  if (theme === 'system') delete root.dataset.theme
  else root.dataset.theme = theme
  root.lang = language === 'zh' ? 'zh-CN' : 'en'
}
