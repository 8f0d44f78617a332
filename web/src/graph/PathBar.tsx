import { useT } from '../i18n'
import { leave, shownOf, useDocuments } from '../state/documents'

/** Where one is: the workflow, and the subgraphs that one has gone into. */
export function PathBar() {
  const t = useT()
  const name = useDocuments((state) => state.tabs.find((tab) => tab.id === state.active)?.name ?? '')
  const shown = useDocuments((state) => shownOf(state.tabs.find((tab) => tab.id === state.active)))
  if (!shown?.subgraphs.length) return null
  return (
    <nav className="path" aria-label={t('subgraph.path')}>
      <button type="button" onClick={() => leave(0)}>
        {name || t('subgraph.root')}
      </button>
      {shown.subgraphs.map(({ instance, name: called }, at) => (
        <span key={instance}>
          <i aria-hidden="true">›</i>
          <button type="button" aria-current={at === shown.subgraphs.length - 1} onClick={() => leave(at + 1)}>
            {called}
          </button>
        </span>
      ))}
    </nav>
  )
}
