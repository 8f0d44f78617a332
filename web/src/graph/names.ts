import { subgraphsOf } from '../model/document'
import { activeDoc } from '../state/documents'

/** The name of a subgraph that the open file defines. */
export function subgraphName(type: string): string {
  if (!type.includes('-')) return ''
  const doc = activeDoc()
  return (doc && subgraphsOf(doc.file).get(type)?.name) ?? ''
}
