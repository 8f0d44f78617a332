import { NodeResizeControl, useUpdateNodeInternals, type NodeProps } from '@xyflow/react'
import { createContext, memo, useContext, useEffect, useMemo, useRef } from 'react'
import { Icon } from '../app/Icon'
import { about, inputName, nodeName, problemWords, said, useT } from '../i18n'
import { BUILTIN } from '../model/builtin'
import { portsWith, type Ports } from '../model/connect'
import { BYPASSED, flagOf, inputsOf, isKnot, isNote, MUTED, modeOf, titleOf, type Document, type Node } from '../model/document'
import { isPrimitive } from '../model/primitive'
import { isEnd } from '../model/subgraphs'
import { looksShifted } from '../io/widgets'
import type { NodeDef } from '../model/definitions'
import { checkValues, holding, type Problem, type Told } from '../model/validate'
import { resize } from './actions'
import { serverDefinitions, useDef, useDefinitions, useMatched } from '../state/definitions'
import { usePrefix, useDocuments } from '../state/documents'
import { runOf, useRun, type NodeRun } from '../state/run'
import { useView } from '../state/view'
import { Field } from '../widgets/Field'
import { CardHead } from './CardHead'
import { NodeFar } from './NodeFar'
import { NodePictures } from './NodePictures'
import { NoteBody } from './NoteBody'
import { FoldedSockets, PortRows } from './PortRows'
import { ProxyFields } from './ProxyFields'
import { End, Knot } from './SmallNodes'
import { showsPictures } from './size'
import type { Card } from './toFlow'

const NOTHING_TOLD: readonly Told[] = []
const NO_PROBLEMS: readonly Problem[] = []
const standing = (root: Document | undefined, told: readonly Told[]): readonly Problem[] => (root && told.length ? holding(root, serverDefinitions(), told) : NO_PROBLEMS)
/** Whether the graph is seen from far. Told to all cards at once: a thousand that look at the zoom are felt in every frame. */
export const FromFar = createContext(false)

export const GraphNode = memo(function GraphNode({ data: { node }, selected, height = 0 }: NodeProps<Card>) {
  const t = useT()
  const def = useDef(node)
  const isSubgraph = useDefinitions((state) => def !== undefined && !isPrimitive(node) && !state.definitions.has(node.type))
  const tab = useDocuments((state) => state.active)
  const id = usePrefix() + node.id
  const run = useRun((state) => runOf(state.nodes[tab], id, isSubgraph))
  const told = useRun((state) => state.problems[tab] ?? NOTHING_TOLD)
  const all = useDocuments((state) => standing(state.tabs.find((each) => each.id === tab)?.history.present, told))
  const far = useContext(FromFar)
  const fitting = useView((view) => view.dragging !== null && view.dragging.node !== node.id)
  const matched = useMatched(node, def)
  const ports = useMemo(() => portsWith(node, def, matched), [node, def, matched])
  const linked = useMemo(() => new Set(inputsOf(node).filter((slot) => slot.link !== null).map((slot) => slot.name)), [node])
  const problems = useMemo(() => {
    const theirs = all.filter((each) => each.node === id || (isSubgraph && each.node.startsWith(`${id}:`))).map((each) => (each.node === id ? each : { ...each, input: '' }))
    const ours = def && modeOf(node) !== MUTED && modeOf(node) !== BYPASSED ? checkValues(node, def, linked) : []
    return [...theirs, ...ours.filter((problem) => !theirs.some((each) => each.input === problem.input))]
  }, [all, node, def, linked, id, isSubgraph])
  const named = def ?? BUILTIN.get(node.type)
  const name = titleOf(node) || (named ? nodeName(named) : node.type)
  const isCollapsed = flagOf(node, 'collapsed')
  useSockets(node.id, `${far} ${modeOf(node)} ${isCollapsed} ${node.size?.join()} ${ports.inputs.length} ${ports.outputs.length} ${problems.map((problem) => problem.input).join()}`)
  const label = t('node.aria', {
    name,
    id: node.id,
    linked: linked.size,
    sockets: ports.inputs.length,
    state: (run?.state === 'running' ? t('node.ariaRunning') : '') + (problems.length ? t('node.ariaProblem') : ''),
  })
  if (isEnd(node.id)) return <End node={node} ports={ports} linked={linked} selected={selected} />
  if (isKnot(node)) return <Knot node={node} ports={ports} linked={linked} selected={selected} label={label} />
  // one that was never seen from near is as high as toFlow says: drawing all of it once would make opening slow
  if (far) return <NodeFar name={name} height={height} selected={selected} problem={problems.length > 0} color={node.raw.color} ports={ports} linked={linked} running={run?.state === 'running'} />
  const mode = modeOf(node)
  const classes = ['card', selected && 'selected', mode === MUTED && 'muted', mode === BYPASSED && 'bypassed', run?.state === 'running' && 'running', problems.length && 'problem', isCollapsed && 'collapsed', isNote(node) && 'note-card', isSubgraph && 'subgraph', fitting ? 'fitting' : 'origin']
  const color = typeof node.raw.bgcolor === 'string' ? node.raw.bgcolor : undefined
  return (
    <div
      className={classes.filter(Boolean).join(' ')}
      style={{ minHeight: isCollapsed ? undefined : (node.size?.[1] ?? 40) + 30, ...(color ? { background: `color-mix(in srgb, ${color} 30%, var(--node))` } : {}) }}
      role="group"
      aria-label={label}
      tabIndex={-1}
      data-node={node.id}
    >
      <CardHead node={node} name={name} run={run} isSubgraph={isSubgraph} />
      {isCollapsed ? <FoldedSockets node={node} inputs={[...ports.inputs, ...ports.widgets.filter((port) => linked.has(port.name))]} outputs={ports.outputs} /> : <Body node={node} def={def} ports={ports} linked={linked} problems={problems} run={run} />}
      {run?.state === 'running' && run.preview && !isCollapsed && (
        <div className="card-preview">
          <img src={run.preview} alt="" />
        </div>
      )}
      {selected && !isCollapsed && <NodeResizeControl position="bottom-right" className="card-resize" minWidth={140} minHeight={60} onResizeEnd={(_, size) => resize(node, size)} />}
    </div>
  )
})

interface BodyProps {
  readonly node: Node
  readonly def: NodeDef | undefined
  readonly ports: Ports
  readonly linked: ReadonlySet<string>
  readonly problems: readonly Problem[]
  readonly run: NodeRun | undefined
}

function Body({ node, def, ports, linked, problems, run }: BodyProps) {
  const t = useT()
  const general = problems.filter((problem) => problem.input === '' && problem.code !== 'unknown_type')
  return (
    <div className="card-body">
      <PortRows node={node} inputs={ports.inputs} outputs={ports.outputs} linked={linked} problems={problems} />
      {!def && !isNote(node) && !isPrimitive(node) && <p className="card-notice bad">{t('node.unknown', { type: node.type })}</p>}
      {def && looksShifted(node, def) && <p className="card-notice bad">{t('node.shifted')}</p>}
      {ports.widgets.map((port) => port.def && <Field key={port.name} node={node} input={port.def} label={port.label} linked={linked.has(port.name)} problem={problems.find((problem) => problem.input === port.name)} />)}
      <ProxyFields node={node} />
      {general.map((problem, at) => (
        <p key={at} className="card-notice bad">
          {problemWords(problem)}
        </p>
      ))}
      {run?.retried && <p className="card-notice">{t('node.retried', { how: said(run.retried) })}</p>}
      {run?.warnings.map((warning, at) => (
        <p key={at} className="card-notice warning">
          <Icon name="warn" />
          {warning.input ? about(inputName(warning.input), said(warning.message)) : said(warning.message)}
        </p>
      ))}
      {run?.verdict && (
        <p className={`card-notice ${run.verdict.hidden ? 'bad' : ''}`}>
          {t(run.verdict.hidden ? 'node.hidden' : 'node.passed', { hidden: run.verdict.hidden, of: run.verdict.of })}
          {run.verdict.highest !== null && ` · ${t('side.score', { score: run.verdict.highest.toFixed(1) })}`}
        </p>
      )}
      {run?.texts.map((line, at) => (
        <p key={at} className="card-notice card-text">
          {line}
        </p>
      ))}
      {isNote(node) && <NoteBody node={node} />}
      {(showsPictures(def) || Boolean(run?.pictures.length)) && <NodePictures node={node} run={run} upload={def?.inputs.find((input) => input.upload)} />}
    </div>
  )
}

/** Sockets may move inside a card of the same size; React Flow has to be told. */
function useSockets(id: string, look: string): void {
  const update = useUpdateNodeInternals()
  const before = useRef(look)
  useEffect(() => {
    if (before.current !== look) update(id)
    before.current = look
  }, [look, id, update])
}
