import { Icon } from '../app/Icon'
import { seconds, useT } from '../i18n'
import { BYPASSED, flagOf, MUTED, modeOf, type Node } from '../model/document'
import type { NodeRun } from '../state/run'
import { enter } from '../state/documents'
import { setView, useView } from '../state/view'
import { changeTitle } from './actions'

interface Props {
  readonly node: Node
  readonly name: string
  readonly run: NodeRun | undefined
  /** Whether there is a graph inside to go into. */
  readonly isSubgraph: boolean
}

/** The card's title, with how it stands: left out, running, cached, how long it took. */
export function CardHead({ node, name, run, isSubgraph }: Props) {
  const t = useT()
  const renaming = useView((view) => view.renaming === node.id)
  const mode = modeOf(node)
  const color = typeof node.raw.color === 'string' ? node.raw.color : undefined
  return (
    <div className="card-head" style={color ? { background: `color-mix(in srgb, ${color} 55%, var(--node-head))` } : undefined} title={isSubgraph ? `${name} – ${t('subgraph.enterHint')}` : name} onDoubleClick={() => (isSubgraph ? enter(node.id) : setView({ renaming: node.id }))}>
      {isSubgraph && (
        <button type="button" className="card-enter nodrag" tabIndex={-1} aria-label={t('cmd.enterSubgraph')} title={t('cmd.enterSubgraph')} onClick={() => enter(node.id)}>
          <Icon name="expand" />
        </button>
      )}
      <div className="card-title">{renaming ? <TitleInput node={node} name={name} /> : name}</div>
      {flagOf(node, 'pinned') && <span className="card-badge" title={t('cmd.pin')} aria-label={t('cmd.pin')}>{'\u2022'}</span>}
      {mode === MUTED && <span className="card-badge mode">{t('node.muted')}</span>}
      {mode === BYPASSED && <span className="card-badge mode">{t('node.bypassed')}</span>}
      {run && <Badge run={run} />}
      {run?.state === 'running' && <i className={`card-progress ${run.max > 1 ? '' : 'endless'}`} style={run.max > 1 ? { width: `${(100 * run.value) / run.max}%` } : undefined} />}
    </div>
  )
}

function Badge({ run }: { run: NodeRun }) {
  const t = useT()
  if (run.state === 'running') return run.max > 1 ? <span className="card-badge">{`${run.value} / ${run.max}`}</span> : null
  if (run.state === 'cached')
    return (
      <span className="card-badge cached" title={t('node.cachedHint')}>
        {t('node.cached')}
      </span>
    )
  if (run.state !== 'done' || run.seconds === null) return null
  return (
    <span className="card-badge" title={t('node.secondsHint')}>
      {t('node.seconds', { seconds: seconds(run.seconds) })}
    </span>
  )
}

function TitleInput({ node, name }: { node: Node; name: string }) {
  const finish = (text: string, keep: boolean): void => {
    setView({ renaming: null })
    if (keep && text !== name) changeTitle(node.id, text)
  }
  return (
    <input
      className="nodrag"
      aria-label={name}
      defaultValue={name}
      autoFocus
      onFocus={(event) => event.target.select()}
      onDoubleClick={(event) => event.stopPropagation()}
      onBlur={(event) => finish(event.target.value, true)}
      onKeyDown={(event) => {
        event.stopPropagation()
        if (event.key === 'Enter' && !event.nativeEvent.isComposing) finish(event.currentTarget.value, true)
        if (event.key === 'Escape') finish('', false)
      }}
    />
  )
}
