/** The node types that the open workflow can use: the server's, and its own subgraphs. */
import { useMemo } from 'react'
import type { Definitions, NodeDef } from '../model/definitions'
import type { Node } from '../model/document'
import { known } from '../model/library'
import { matchedOf, matches, NOTHING_MATCHED, type Matched } from '../model/matching'
import { defIn, isPrimitive } from '../model/primitive'
import { defFor } from '../model/varying'
import { activeTab, shownOf, useDocuments } from './documents'
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

/** The type of one node: what shows it is drawn again only when that one changes. */
export function useDef(node: Node): NodeDef | undefined {
  const server = useDefinitions((state) => state.definitions)
  return useDocuments((state) => {
    const tab = state.tabs.find((each) => each.id === state.active)
    const file = tab?.history.present.file
    const all = file ? known(server, file) : server
    if (!isPrimitive(node)) return defFor(all.get(node.type), node)
    const doc = shownOf(tab)?.doc
    return doc && defIn(doc, node, all)
  })
}

/** What the links of one node have decided about its sockets. Of all nodes whose type leaves nothing to decide: nothing. */
export function useMatched(node: Node, def: NodeDef | undefined): Matched {
  const server = useDefinitions((state) => state.definitions)
  const told = useDocuments((state) => {
    if (!matches(def)) return ''
    const tab = state.tabs.find((each) => each.id === state.active)
    const doc = shownOf(tab)?.doc
    return tab && doc ? JSON.stringify(matchedOf(doc, known(server, tab.history.present.file), node)) : ''
  })
  return useMemo(() => (told ? (JSON.parse(told) as Matched) : NOTHING_MATCHED), [told])
}
