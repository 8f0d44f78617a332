/** Making, entering and unpacking subgraphs. */
import { focusNode, sizeOf } from '../graph/camera'
import { t } from '../i18n'
import { makeSubgraph, dropUnused, unpackSubgraph } from '../model/subgraphEdit'
import { isEnd, openSubgraph } from '../model/subgraphs'
import { activeDoc, activeTab, commit, enter, leave, newId, shownOf } from '../state/documents'
import { serverDefinitions } from '../state/server'
import { say, select, selected } from '../state/view'

const one = (): string | undefined => [...selected()].find((id) => activeDoc()?.nodes.has(id))

export function groupIntoSubgraph(): void {
  let made = ''
  const ids = new Set([...selected()].filter((id) => !isEnd(id)))
  commit(t('do.subgraph'), (doc) => {
    const done = makeSubgraph(doc, ids, t('subgraph.new'), serverDefinitions(), sizeOf, newId)
    made = done?.id ?? ''
    return done?.doc ?? doc
  })
  if (!made) return
  select([made])
  requestAnimationFrame(() => focusNode(made))
}

export function enterSelected(): void {
  const doc = activeDoc()
  const id = one()
  const node = doc?.nodes.get(id ?? '')
  if (!doc || !node || !openSubgraph(doc, node.type, serverDefinitions())) return
  enter(node.id)
  say(t('say.entered', { name: shownOf(activeTab())?.subgraphs.at(-1)?.name ?? '' }))
}

export function leaveOne(): void {
  const depth = shownOf(activeTab())?.subgraphs.length ?? 0
  if (depth) leave(depth - 1)
}

export function unpackSelected(): void {
  const id = one()
  const type = activeDoc()?.nodes.get(id ?? '')?.type
  if (id === undefined || type === undefined) return
  let ids: ReadonlySet<string> = new Set()
  commit(t('do.unpack'), (doc) => {
    const done = unpackSubgraph(doc, id, serverDefinitions())
    ids = done?.ids ?? ids
    const next = done?.doc ?? doc
    return shownOf(activeTab())?.subgraphs.length ? next : dropUnused(next, [type])
  })
  if (ids.size) select(ids)
}
