/** The node types that the server has, as last read. */
import { create } from 'zustand'
import { api } from '../api/client'
import { readDefinitions, type Definitions } from '../model/definitions'

interface State {
  readonly definitions: Definitions
  readonly state: 'loading' | 'ready' | 'failed'
}

export const useDefinitions = create<State>(() => ({ definitions: new Map(), state: 'loading' }))

let asked: Promise<readonly string[]> | null = null

export async function loadDefinitions(): Promise<boolean> {
  asked = null
  try {
    useDefinitions.setState({ definitions: readDefinitions(await api.objectInfo()), state: 'ready' })
    return true
  } catch {
    useDefinitions.setState((old) => ({ state: old.definitions.size ? 'ready' : 'failed' }))
    return false
  }
}

/** The server's types alone. */
export const serverDefinitions = (): Definitions => useDefinitions.getState().definitions

/** The names of the server's embeddings, read once they are wanted and again with the node types. */
export function embeddings(): Promise<readonly string[]> {
  asked ??= api.embeddings().catch(() => {
    asked = null
    return []
  })
  return asked
}
