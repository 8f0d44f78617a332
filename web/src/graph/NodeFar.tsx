/** A card seen from far: its name alone, exactly as large, so that no link has to move. */
import type { CSSProperties } from 'react'
import type { Json } from '../io/json'
import type { Ports } from '../model/connect'
import { handleIn, handleOut } from './handles'
import { FIELD, HEAD, ROW } from './size'

interface Props {
  readonly name: string
  readonly height: number
  readonly selected: boolean
  readonly problem: boolean
  readonly running: boolean
  readonly color: Json | undefined
  readonly ports: Ports
  readonly linked: ReadonlySet<string>
}

const TOP = HEAD + 5
const LONG = 24 // letters; more may need more lines than a card has room for

/** React Flow measures these as it does its own handles; they cost next to nothing. */
const at = (side: 'left' | 'right', y: number): CSSProperties => ({ position: 'absolute', width: 22, height: 22, top: y - 11, [side]: -11 })

export function NodeFar({ name, height, selected, problem, running, color, ports, linked }: Props) {
  const rows = Math.max(ports.inputs.length, ports.outputs.length)
  const low = (y: number): number => Math.min(y, height - 8)
  const isTight = height < 2 * HEAD || name.length > LONG // clipping every card is felt in every frame
  return (
    <div className={`far ${isTight ? 'tight' : ''} ${selected ? 'selected' : ''} ${problem ? 'problem' : ''} ${running ? 'running' : ''}`} style={{ height, ...(typeof color === 'string' ? { background: `color-mix(in srgb, ${color} 55%, var(--node-head))` } : {}) }}>
      <span>{name}</span>
      {ports.inputs.map((input, row) => linked.has(input.name) && <i key={input.name} className="target" data-handleid={handleIn(input.name)} data-handlepos="left" style={at('left', low(TOP + (row + 0.5) * ROW))} />)}
      {ports.widgets.map((input, row) => linked.has(input.name) && <i key={input.name} className="target" data-handleid={handleIn(input.name)} data-handlepos="left" style={at('left', low(TOP + rows * ROW + (row + 0.5) * FIELD))} />)}
      {ports.outputs.map((output, row) => <i key={output.slot} className="source" data-handleid={handleOut(output.slot)} data-handlepos="right" style={at('right', low(TOP + (row + 0.5) * ROW))} />)}
    </div>
  )
}
