import { getBezierPath, Position, useStore, type ConnectionLineComponentProps } from '@xyflow/react'
import { useView } from '../state/view'
import { handleOut, middleOfSocket } from './handles'
import type { Drawn } from './toFlow'
import { typeColor } from './types'

/** The link in the hand. One that was taken off an input hangs from the output that it comes from. */
export function PendingLink({ fromX, fromY, toX, toY, fromPosition }: ConnectionLineComponentProps<Drawn>) {
  const drag = useView((view) => view.dragging)
  const source = useStore((state) => (drag?.picked && drag.ends.from !== undefined ? state.nodeLookup.get(drag.ends.from) : undefined))
  const [sourceX, sourceY] = middleOfSocket(source, 'source', handleOut(drag?.ends.fromSlot ?? 0)) ?? [fromX, fromY]
  const side = source ? Position.Right : fromPosition
  const [path] = getBezierPath({ sourceX, sourceY, sourcePosition: side, targetX: toX, targetY: toY, targetPosition: side === Position.Right ? Position.Left : Position.Right })
  return <path d={path} fill="none" className="react-flow__connection-path" style={{ stroke: drag ? typeColor(drag.type) : undefined }} />
}
