import { useT } from '../i18n'
import { useDocuments } from '../state/documents'
import { useRun } from '../state/run'
import { setView, useView } from '../state/view'
import { Gallery } from './Gallery'
import { Problems, useProblems } from './Problems'
import { Queue } from './Queue'

export function Side() {
  const t = useT()
  const panel = useView((view) => view.panel)
  const remaining = useRun((state) => state.remaining)
  const tab = useDocuments((state) => state.active)
  const problems = useProblems(tab)
  const counts = { gallery: 0, queue: remaining, problems: problems.length }
  return (
    <aside className="side">
      <div className="side-tabs" role="tablist">
        {(['gallery', 'queue', 'problems'] as const).map((each) => (
          <button key={each} type="button" role="tab" id={`tab-${each}`} aria-selected={panel === each} aria-controls="side-panel" onClick={() => setView({ panel: each })}>
            {t(`side.${each}`)}
            {counts[each] > 0 && <span className={`count ${each === 'problems' ? 'bad' : ''}`}>{counts[each]}</span>}
          </button>
        ))}
      </div>
      <div className="side-body" role="tabpanel" id="side-panel" aria-labelledby={`tab-${panel}`}>
        {panel === 'gallery' && <Gallery />}
        {panel === 'queue' && <Queue />}
        {panel === 'problems' && <Problems />}
      </div>
    </aside>
  )
}
