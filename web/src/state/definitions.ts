/** The node types that the open workflow can use: the server's, and its own subgraphs. */
import type { Definitions, NodeDef } from '../model/definitions'
import { known } from '../model/library'
import { activeTab, useDocuments } from './documents'
import { serverDefinitions, useDefinitions } from './server'

export { loadDefinitions, serverDefinitions, useDefinitions } from './server'

export function definitions(): Definitions {
  const file = activeTab()?.history.present.file
  return file ? known(serverDefinitions(), file) : serverDefinitions()
}

export function useDefs(): Definitions {
  const server = useDefinitions((state) => state.definitions)
  const file = useDocuments((state) => state.tabs.find((tab) => tab.id === state.active)?.history.present.file)
  return file ? known(server, file) : server
}

/** One type alone: what shows it is drawn again only when that one changes. */
export function useDef(type: string): NodeDef | undefined {
  const server = useDefinitions((state) => state.definitions)
  return useDocuments((state) => {
    const file = state.tabs.find((tab) => tab.id === state.active)?.history.present.file
    return (file ? known(server, file) : server).get(type)
  })
}
