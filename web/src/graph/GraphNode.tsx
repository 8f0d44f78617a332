import { NodeResizeControl, useStore, useUpdateNodeInternals, type NodeProps } from '@xyflow/react'
import { memo, useEffect, useMemo, useRef } from 'react'
import { inputName, nodeName, seconds, useT } from '../i18n'
import { portsOf, type OutputPort, type InputPort } from '../model/connect'
import { BYPASSED, flagOf, inputsOf, isNote, MUTED, modeOf, outputsOf, titleOf, type Node } from '../model/document'
import { looksShifted } from '../io/widgets'
import { checkValues, stillHolds, type Problem, type Told } from '../model/validate'
import { changeTitle, resize } from './actions'
import { useDefinitions } from '../state/definitions'
import { useDocuments } from '../state/documents'
import { useRun, type NodeRun } from '../state/run'
import { setView, useView } from '../state/view'
import { Field } from '../widgets/Field'
import { NodeFar } from './NodeFar'
import { NodePictures } from './NodePictures'
import { NoteBody } from './NoteBody'
import { handleIn, handleOut } from './handles'
import { Socket } from './Socket'
import { showsPictures } from './size'
import { subgraphName } from './names'
import type { Card } from './toFlow'

const NOTHING_TOLD: readonly Told[] = []
export const FAR_ZOOM = 0.35

export const GraphNode = memo(function GraphNode({ data: { node }, selected }: NodeProps<Card>) {
  const t = useT()
  const definitions = useDefinitions((state) => state.definitions)
  const tab = useDocuments((state) => state.active)
  const run = useRun((state) => state.nodes[tab]?.[node.id])
  const all = useRun((state) => state.problems[tab] ?? NOTHING_TOLD)
  const far = useStore((state) => state.transform[2] < FAR_ZOOM)
  const height = useStore((state) => state.nodeLookup.get(node.id)?.measured.height)
  const fitting = useView((view) => view.dragging !== null && view.dragging.node !== node.id)
  const def = definitions.get(node.type)
  const ports = useMemo(() => portsOf(node, definitions), [node, definitions])
  const linked = useMemo(() => new Set(inputsOf(node).filter((slot) => slot.link !== null).map((slot) => slot.name)), [node])
  const problems = useMemo(() => {
    const theirs = all.filter((each) => each.problem.node === node.id && stillHolds(each, node)).map((each) => each.problem)
    const ours = def && modeOf(node) !== MUTED && modeOf(node) !== BYPASSED ? checkValues(node, def, linked) : []
    return [...theirs, ...ours.filter((problem) => !theirs.some((each) => each.input === problem.input))]
  }, [all, node, def, linked])
  const name = titleOf(node) || (def ? nodeName(def) : subgraphName(node.type)) || node.type
  const mode = modeOf(node)
  useSockets(node.id, `${far} ${mode} ${flagOf(node, 'collapsed')} ${problems.map((problem) => problem.input).join()}`)
  if (far && height) return <NodeFar name={name} height={height} selected={selected} problem={problems.length > 0} color={node.raw.color} ports={ports} linked={linked} />
  const isCollapsed = flagOf(node, 'collapsed')
  const sockets = ports.inputs.length
  const label = t('node.aria', {
    name,
    id: node.id,
    linked: linked.size,
    sockets,
    state: (run?.state === 'running' ? t('node.ariaRunning') : '') + (problems.length ? t('node.ariaProblem') : ''),
  })
  const classes = ['card', selected && 'selected', mode === MUTED && 'muted', mode === BYPASSED && 'bypassed', run?.state === 'running' && 'running', problems.length && 'problem', isCollapsed && 'collapsed', isNote(node) && 'note-card', fitting ? 'fitting' : 'origin']
  const color = typeof node.raw.bgcolor === 'string' ? node.raw.bgcolor : undefined
  const body = (
    <div className="card-body">
      <PortRows node={node} inputs={ports.inputs} outputs={ports.outputs} linked={linked} problems={problems} />
      {!def && !isNote(node) && !subgraphName(node.type) && node.type !== 'Reroute' && node.type !== 'PrimitiveNode' && <p className="card-notice bad">{t('node.unknown', { type: node.type })}</p>}
      {def && looksShifted(node, def) && <p className="card-notice bad">{t('node.shifted')}</p>}
      {ports.widgets.map((port) => port.def && <Field key={port.name} node={node} input={port.def} label={port.label} linked={linked.has(port.name)} problem={problems.find((problem) => problem.input === port.name)} />)}
      {problems.filter((problem) => problem.input === '' && problem.code !== 'unknown_type').map((problem, at) => (
        <p key={at} className="card-notice bad">
          {t(`problem.${problem.code}`, problem.params)}
        </p>
      ))}
      {run?.verdict && (
        <p className={`card-notice ${run.verdict.hidden ? 'bad' : ''}`}>
          {t(run.verdict.hidden ? 'node.hidden' : 'node.passed', { hidden: run.verdict.hidden, of: run.verdict.of })}
          {run.verdict.highest !== null && ` · ${t('side.score', { score: run.verdict.highest.toFixed(1) })}`}
        </p>
      )}
      {isNote(node) && <NoteBody node={node} />}
      {showsPictures(def) && <NodePictures node={node} run={run} upload={def?.inputs.find((input) => input.upload)} />}
    </div>
  )
  return (
    <div
      className={classes.filter(Boolean).join(' ')}
      style={{ minHeight: isCollapsed ? undefined : (node.size?.[1] ?? 40) + 30, ...(color && !isNote(node) ? { background: `color-mix(in srgb, ${color} 30%, var(--node))` } : {}) }}
      role="group"
      aria-label={label}
      tabIndex={-1}
      data-node={node.id}
    >
      <Head node={node} name={name} run={run} mode={mode} color={typeof node.raw.color === 'string' ? node.raw.color : undefined} />
      {isCollapsed ? <FoldedSockets node={node} inputs={[...ports.inputs, ...ports.widgets.filter((port) => linked.has(port.name))]} outputs={ports.outputs} /> : body}
      {run?.state === 'running' && run.preview && !isCollapsed && (
        <div className="card-preview">
          <img src={run.preview} alt="" />
        </div>
      )}
      {selected && !isCollapsed && <NodeResizeControl position="bottom-right" className="card-resize" minWidth={140} minHeight={60} onResizeEnd={(_, size) => resize(node, size)} />}
    </div>
  )
})

/** Sockets may move inside a card of the same size; React Flow has to be told. */
function useSockets(id: string, look: string): void {
  const update = useUpdateNodeInternals()
  const before = useRef(look)
  useEffect(() => {
    if (before.current !== look) update(id)
    before.current = look
  }, [look, id, update])
}

function Head({ node, name, run, mode, color }: { node: Node; name: string; run: NodeRun | undefined; mode: number; color: string | undefined }) {
  const t = useT()
  const renaming = useView((view) => view.renaming === node.id)
  return (
    <div className="card-head" style={color ? { background: `color-mix(in srgb, ${color} 55%, var(--node-head))` } : undefined} title={name}>
      <div className="card-title" onDoubleClick={() => setView({ renaming: node.id })}>
        {renaming ? <TitleInput node={node} name={name} /> : name}
      </div>
      {mode === MUTED && <span className="card-badge mode">{t('node.muted')}</span>}
      {mode === BYPASSED && <span className="card-badge mode">{t('node.bypassed')}</span>}
      {run?.state === 'cached' && (
        <span className="card-badge cached" title={t('node.cachedHint')}>
          {t('node.cached')}
        </span>
      )}
      {run?.state === 'done' && run.seconds !== null && (
        <span className="card-badge" title={t('node.secondsHint')}>
          {t('node.seconds', { seconds: seconds(run.seconds) })}
        </span>
      )}
      {run?.state === 'running' && run.max > 1 && <span className="card-badge">{`${run.value} / ${run.max}`}</span>}
      {run?.state === 'running' && <i className={`card-progress ${run.max > 1 ? '' : 'endless'}`} style={run.max > 1 ? { width: `${(100 * run.value) / run.max}%` } : undefined} />}
    </div>
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
      onBlur={(event) => finish(event.target.value, true)}
      onKeyDown={(event) => {
        event.stopPropagation()
        if (event.key === 'Enter' && !event.nativeEvent.isComposing) finish(event.currentTarget.value, true)
        if (event.key === 'Escape') finish('', false)
      }}
    />
  )
}

interface RowProps {
  readonly node: Node
  readonly inputs: readonly InputPort[]
  readonly outputs: readonly OutputPort[]
  readonly linked: ReadonlySet<string>
  readonly problems: readonly Problem[]
}

function PortRows({ node, inputs, outputs, linked, problems }: RowProps) {
  const t = useT()
  const used = useMemo(() => new Set(outputsOf(node).flatMap((_, slot) => (hasLinks(node, slot) ? [slot] : []))), [node])
  if (!inputs.length && !outputs.length) return null
  const rows = Math.max(inputs.length, outputs.length)
  return (
    <div className="ports">
      {Array.from({ length: rows }, (_, row) => {
        const input = inputs[row]
        const output = outputs[row]
        const problem = input && problems.find((each) => each.input === input.name)
        return [
          input ? (
            <div key={`i${row}`} className={`port in ${input.optional ? 'optional' : ''} ${problem ? 'problem' : ''}`} style={{ gridRow: row + 1 }} title={problem ? t(`problem.${problem.code}`, problem.params) : `${input.type}${input.def?.tooltip ? ` – ${input.def.tooltip}` : ''}`}>
              <Socket side="in" id={handleIn(input.name)} node={node.id} type={input.type} linked={linked.has(input.name)} bare hint={input.type} />
              <span>{input.label === input.name ? inputName(input.name) : input.label}</span>
            </div>
          ) : null,
          output ? (
            <div key={`o${row}`} className="port out" style={{ gridRow: row + 1 }} title={`${output.type}${output.tooltip ? ` – ${output.tooltip}` : ''}`}>
              <span>{output.label}</span>
              <Socket side="out" id={handleOut(output.slot)} node={node.id} type={output.type} linked={used.has(output.slot)} hint={output.type} />
            </div>
          ) : null,
        ]
      })}
    </div>
  )
}

function hasLinks(node: Node, slot: number): boolean {
  const outputs = node.raw.outputs
  const output = Array.isArray(outputs) ? (outputs as readonly { links?: unknown }[])[slot] : undefined
  return Array.isArray(output?.links) && output.links.length > 0
}

function FoldedSockets({ node, inputs, outputs }: { node: Node; inputs: readonly InputPort[]; outputs: readonly OutputPort[] }) {
  return (
    <div style={{ position: 'absolute', inset: 0, pointerEvents: 'none' }}>
      {inputs.map((input) => (
        <Socket key={input.name} side="in" id={handleIn(input.name)} node={node.id} type={input.type} linked hint={input.type} />
      ))}
      {outputs.map((output) => (
        <Socket key={output.slot} side="out" id={handleOut(output.slot)} node={node.id} type={output.type} linked hint={output.type} />
      ))}
    </div>
  )
}
