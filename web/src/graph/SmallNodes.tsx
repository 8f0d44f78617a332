/** Nodes that are hardly more than sockets: a Reroute, and the two ends of a subgraph. */
import { useState } from 'react'
import { Icon } from '../app/Icon'
import { about, useT } from '../i18n'
import type { OutputPort, InputPort, Ports } from '../model/connect'
import type { Node } from '../model/document'
import { INPUT_NODE } from '../model/library'
import { labelEnd, raiseEnd, takeEnd } from './actions'
import { handleIn, handleOut } from './handles'
import { usedOutputs } from './PortRows'
import { Socket } from './Socket'

export function Knot({ node, ports, linked, selected, label }: { node: Node; ports: Ports; linked: ReadonlySet<string>; selected: boolean; label: string }) {
  const input = ports.inputs[0]
  const output = ports.outputs[0]
  const type = output?.type ?? '*'
  return (
    <div className={`knot ${selected ? 'selected' : ''}`} role="group" aria-label={label} tabIndex={-1} data-node={node.id} title={type}>
      {input && <Socket side="in" id={handleIn(input.name)} node={node.id} type={type} linked={linked.size > 0} bare hint={type} />}
      <span>{type === '*' ? '' : type}</span>
      {output && <Socket side="out" id={handleOut(0)} node={node.id} type={type} linked={usedOutputs(node).size > 0} hint={type} />}
    </div>
  )
}

export function End({ node, ports, linked, selected }: { node: Node; ports: Ports; linked: ReadonlySet<string>; selected: boolean }) {
  const t = useT()
  const isInput = node.id === INPUT_NODE
  const name = t(isInput ? 'subgraph.inputs' : 'subgraph.outputs')
  const used = usedOutputs(node)
  const side = isInput ? 'out' : 'in'
  return (
    <div className={`card end ${selected ? 'selected' : ''}`} role="group" aria-label={name} tabIndex={-1} data-node={node.id}>
      <div className="card-head">
        <div className="card-title">{name}</div>
      </div>
      <div className="card-body">
        {(isInput ? ports.outputs : ports.inputs).map((port, slot) => (
          <EndRow key={port.name} node={node.id} port={port} slot={slot} side={side} linked={isInput ? used.has(slot) : linked.has(port.name)} />
        ))}
        <div className={`port ${side} more`} title={t('subgraph.more')}>
          <Socket side={side} id={isInput ? 'o:+' : 'i:+'} node={node.id} type="*" linked={false} bare hint={t('subgraph.more')} />
          <span>+</span>
        </div>
      </div>
    </div>
  )
}

function EndRow({ node, port, slot, side, linked }: { node: string; port: InputPort | OutputPort; slot: number; side: 'in' | 'out'; linked: boolean }) {
  const t = useT()
  const [naming, setNaming] = useState(false)
  const finish = (text: string): void => {
    setNaming(false)
    if (text && text !== port.label) labelEnd(node, slot, text)
  }
  return (
    <div className={`port ${side} end-row`} title={port.type}>
      <Socket side={side} id={side === 'out' ? handleOut(slot) : handleIn(port.name)} node={node} type={port.type} linked={linked} hint={port.type} />
      {naming ? (
        <input
          className="nodrag"
          aria-label={port.label}
          defaultValue={port.label}
          autoFocus
          onBlur={(event) => finish(event.target.value)}
          onKeyDown={(event) => {
            event.stopPropagation()
            if (event.key === 'Enter') finish(event.currentTarget.value)
            if (event.key === 'Escape') setNaming(false)
          }}
        />
      ) : (
        <span onDoubleClick={() => setNaming(true)}>{port.label}</span>
      )}
      {slot > 0 && (
        <button type="button" className="end-act nodrag" tabIndex={-1} aria-label={about(t('subgraph.up'), port.label)} title={t('subgraph.up')} onClick={() => raiseEnd(node, slot)}>
          <Icon name="up" />
        </button>
      )}
      <button type="button" className="end-act nodrag" tabIndex={-1} aria-label={about(t('cmd.delete'), port.label)} onClick={() => takeEnd(node, slot)}>
        <Icon name="close" />
      </button>
    </div>
  )
}
