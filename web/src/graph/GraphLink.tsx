import { BaseEdge, useStore, type EdgeProps } from '@xyflow/react'
import { memo } from 'react'
import type { Point } from '../model/document'
import { course } from './curve'
import { SOCKET } from './size'
import { middleOfDot, type LinkEdge } from './toFlow'

/** React Flow gives the outer edge of a socket; a link ends in its middle. */
export const endsOf = (props: { sourceX: number; sourceY: number; targetX: number; targetY: number }): [Point, Point] => [
  [props.sourceX - SOCKET / 2, props.sourceY],
  [props.targetX + SOCKET / 2, props.targetY],
]

export const GraphLink = memo(function GraphLink(props: EdgeProps<LinkEdge>) {
  const dots = props.data?.dots ?? []
  return dots.length ? <RoutedLink {...props} /> : <Line edge={props} points={endsOf(props)} />
})

/** Its points may be in somebody's hand, so they are read from what is drawn. */
function RoutedLink(props: EdgeProps<LinkEdge>) {
  const places = useStore(
    (state) => (props.data?.dots ?? []).flatMap((id) => middleOfDot(state.nodeLookup.get(id)) ?? []),
    (a, b) => a.length === b.length && a.every((value, at) => value === b[at]),
  )
  const [start, end] = endsOf(props)
  const middle = Array.from({ length: places.length / 2 }, (_, at): Point => [places[2 * at] as number, places[2 * at + 1] as number])
  return <Line edge={props} points={[start, ...middle, end]} />
}

function Line({ edge, points }: { edge: EdgeProps<LinkEdge>; points: readonly Point[] }) {
  return <BaseEdge id={edge.id} path={course(points)} style={{ stroke: edge.data?.color }} interactionWidth={16} />
}
