import { getBezierPath, Position, useStore, type ConnectionLineComponentProps } from '@xyflow/react'
import { useView } from '../state/view'
import { handleOut } from './handles'
import type { Drawn } from './toFlow'
import { typeColor } from './types'

/** The link in the hand. One that was taken off an input hangs from the output that it comes from. */
export function PendingLink({ fromX, fromY, toX, toY, fromPosition }: ConnectionLineComponentProps<Drawn>) {
  const drag = useView((view) => view.dragging)
  const source = useStore((state) => (drag?.picked && drag.ends.from !== undefined ? state.nodeLookup.get(drag.ends.from) : undefined))
  const handle = source?.internals.handleBounds?.source?.find((each) => each.id === handleOut(drag?.ends.fromSlot ?? 0))
  const start = source && handle ? { x: source.internals.positionAbsolute.x + handle.x + handle.width / 2, y: source.internals.positionAbsolute.y + handle.y + handle.height / 2 } : { x: fromX, y: fromY }
  const side = source ? Position.Right : fromPosition
  const [path] = getBezierPath({ sourceX: start.x, sourceY: start.y, sourcePosition: side, targetX: toX, targetY: toY, targetPosition: side === Position.Right ? Position.Left : Position.Right })
  return <path d={path} fill="none" className="react-flow__connection-path" style={{ stroke: drag ? typeColor(drag.type) : undefined }} />
}
