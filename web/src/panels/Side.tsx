import { useMemo, type KeyboardEvent } from 'react'
import { useT } from '../i18n'
import { useDefinitions } from '../state/definitions'
import { useDocuments } from '../state/documents'
import { useRun } from '../state/run'
import { setView, useView } from '../state/view'
import { Gallery } from './Gallery'
import { NodeHelp } from './NodeHelp'
import { countOf, Problems, useProblems } from './Problems'
import { Queue } from './Queue'

const PANELS = ['gallery', 'queue', 'problems', 'help'] as const

/** Arrow keys go from tab to tab; one of them is a stop of the Tab key. */
function walk(event: KeyboardEvent): void {
  const at = PANELS.findIndex((each) => event.target instanceof HTMLElement && event.target.id === `tab-${each}`)
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
  const next = by && at >= 0 ? PANELS[(at + by + PANELS.length) % PANELS.length] : undefined
  if (!next) return
  event.preventDefault()
  setView({ panel: next })
  document.getElementById(`tab-${next}`)?.focus()
}

export function Side() {
  const t = useT()
  const panel = useView((view) => view.panel)
  const remaining = useRun((state) => state.remaining)
  const tab = useDocuments((state) => state.active)
  const problems = useProblems(tab)
  const doc = useDocuments((state) => state.tabs.find((each) => each.id === tab)?.history.present)
  const definitions = useDefinitions((state) => state.definitions)
  const count = useMemo(() => countOf(doc, definitions, problems), [doc, definitions, problems])
  const counts = { gallery: 0, queue: remaining, problems: count, help: 0 }
  return (
    <aside className="side">
      <div className="side-tabs" role="tablist" onKeyDown={walk}>
        {PANELS.map((each) => (
          <button key={each} type="button" role="tab" id={`tab-${each}`} aria-selected={panel === each} tabIndex={panel === each ? 0 : -1} aria-controls="side-panel" onClick={() => setView({ panel: each })}>
            {t(`side.${each}`)}
            {counts[each] > 0 && <span className={`count ${each === 'problems' ? 'bad' : ''}`}>{counts[each]}</span>}
          </button>
        ))}
      </div>
      <div className="side-body" role="tabpanel" id="side-panel" aria-labelledby={`tab-${panel}`}>
        {panel === 'gallery' && <Gallery />}
        {panel === 'queue' && <Queue />}
        {panel === 'problems' && <Problems />}
        {panel === 'help' && <NodeHelp />}
      </div>
    </aside>
  )
}
