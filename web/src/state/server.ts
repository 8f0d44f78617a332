/** The node types that the server has, explained in the user's language. */
import { create } from 'zustand'
import { api } from '../api/client'
import { isObject } from '../io/json'
import { readDefinitions, type Definitions } from '../model/definitions'
import { explained, readTranslations, UNTRANSLATED, type Translations } from '../model/translate'
import { useSettings } from './settings'

interface State {
  readonly definitions: Definitions
  /** As the server has them, in English. */
  readonly given: Definitions
  readonly chinese: Translations
  /** Words for inputs whose identifiers read badly. */
  readonly english: Translations
  readonly state: 'loading' | 'ready' | 'failed'
}

export const useDefinitions = create<State>(() => ({ definitions: new Map(), given: new Map(), chinese: UNTRANSLATED, english: UNTRANSLATED, state: 'loading' }))

let asked: Promise<readonly string[]> | null = null

export async function loadDefinitions(): Promise<boolean> {
  asked = null
  try {
    const [given, texts] = await Promise.all([api.objectInfo(), api.translations().catch(() => null)])
    useDefinitions.setState({ given: readDefinitions(given), chinese: readTranslations(isObject(texts) ? texts.zh : undefined), english: readTranslations(isObject(texts) ? texts.en : undefined), state: 'ready' })
    explain()
    return true
  } catch {
    useDefinitions.setState((old) => ({ state: old.definitions.size ? 'ready' : 'failed' }))
    return false
  }
}

function explain(): void {
  const isChinese = useSettings.getState().language === 'zh'
  useDefinitions.setState(({ given, chinese }) => ({ definitions: isChinese ? explained(given, chinese) : given }))
}

/** Explains them again when the language changes. */
export const followLanguage = (): (() => void) => useSettings.subscribe((now, before) => now.language !== before.language && explain())

export const serverDefinitions = (): Definitions => useDefinitions.getState().definitions

/** The names of the server's embeddings, read once they are wanted and again with the node types. */
export function embeddings(): Promise<readonly string[]> {
  asked ??= api.embeddings().catch(() => {
    asked = null
    return []
  })
  return asked
}
