import { useMemo } from 'react'
import { inputName, outputName, problemWords, useT } from '../i18n'
import type { InputPort, OutputPort } from '../model/connect'
import { slots, type Node } from '../model/document'
import { isArray } from '../io/json'
import type { Problem } from '../model/validate'
import { handleIn, handleOut } from './handles'
import { Socket } from './Socket'

interface Props {
  readonly node: Node
  readonly inputs: readonly InputPort[]
  readonly outputs: readonly OutputPort[]
  readonly linked: ReadonlySet<string>
  readonly problems: readonly Problem[]
}

/** The outputs that something hangs on. */
export const usedOutputs = (node: Node): Set<number> => new Set(slots(node.raw.outputs).flatMap((slot, at) => (isArray(slot.links) && slot.links.length ? [at] : [])))

export function PortRows({ node, inputs, outputs, linked, problems }: Props) {
  useT() // its names are in the user's language
  const used = useMemo(() => usedOutputs(node), [node])
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
            <div key={`i${row}`} className={`port in ${input.optional ? 'optional' : ''} ${problem ? 'problem' : ''}`} style={{ gridRow: row + 1 }} title={problem ? problemWords(problem) : `${input.name} · ${input.type}${input.def?.tooltip ? ` – ${input.def.tooltip}` : ''}`}>
              <Socket side="in" id={handleIn(input.name)} node={node.id} type={input.type} linked={linked.has(input.name)} bare hint={input.type} />
              <span>{input.label === input.name ? inputName(input.name) : input.label}</span>
            </div>
          ) : null,
          output ? (
            <div key={`o${row}`} className="port out" style={{ gridRow: row + 1 }} title={`${output.type}${output.tooltip ? ` – ${output.tooltip}` : ''}`}>
              <span>{output.label === output.name ? outputName(output.name) : output.label}</span>
              <Socket side="out" id={handleOut(output.slot)} node={node.id} type={output.type} linked={used.has(output.slot)} hint={output.type} />
            </div>
          ) : null,
        ]
      })}
    </div>
  )
}

/** All sockets of a folded card at one place on each side. */
export function FoldedSockets({ node, inputs, outputs }: { node: Node; inputs: readonly InputPort[]; outputs: readonly OutputPort[] }) {
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
