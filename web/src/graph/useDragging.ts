/** Moving things about: what is held follows the pointer, and becomes one step when it is let go of. */
import { applyNodeChanges, type NodeChange } from '@xyflow/react'
import { useCallback, useRef, type Dispatch, type MouseEvent as ReactMouseEvent, type SetStateAction } from 'react'
import { duplicateAt } from '../app/edits'
import { TITLE_HEIGHT, type Point } from '../model/document'
import { membersOf, type Members } from '../model/groups'
import { isEnd } from '../model/subgraphs'
import { activeDoc } from '../state/documents'
import { select, selected } from '../state/view'
import { moveAll, moveFrame } from './actions'
import { sizeOf } from './camera'
import { COPY, DOT, dotId, dotOf, frameId, isCopy, isDot, isFrame, type Drawn, type Frame } from './toFlow'

interface Held {
  readonly frame: Frame
  readonly members: Members
  /** Where everything in the frame was when it was taken. */
  readonly places: ReadonlyMap<string, { x: number; y: number }>
}

/** Alt+drag: the nodes stay, with their links, and pictures of them follow the pointer until it lets go. */
export function useDragging(setDrawn: Dispatch<SetStateAction<Drawn[]>>) {
  const held = useRef<Held | null>(null)
  const copied = useRef<ReadonlySet<string>>(new Set())

  const onNodesChange = useCallback((changes: NodeChange<Drawn>[]) => {
    const picks = changes.filter((change) => change.type === 'select')
    if (picks.length) {
      const next = new Set(selected())
      for (const change of picks) change.selected ? next.add(change.id) : next.delete(change.id)
      select(next)
    }
    const rest = changes
      .filter((change) => change.type === 'position' || change.type === 'dimensions')
      .map((change) => (change.type === 'position' && copied.current.has(change.id) ? { ...change, id: COPY + change.id } : change))
    if (rest.length) setDrawn((before) => applyNodeChanges(rest, before))
  }, [setDrawn])

  const onNodeDragStart = useCallback((event: MouseEvent | TouchEvent | ReactMouseEvent, node: Drawn) => {
    held.current = null
    const doc = activeDoc()
    copied.current = 'altKey' in event && event.altKey && doc?.nodes.has(node.id) ? new Set([...(selected().has(node.id) ? selected() : [node.id])].filter((id) => doc.nodes.has(id) && !isEnd(id))) : new Set()
    if (copied.current.size) setDrawn((drawn) => [...drawn, ...drawn.filter((each) => copied.current.has(each.id)).map((each) => ({ ...each, id: COPY + each.id, selected: true, zIndex: 2000 }))])
    if (node.type !== 'frame' || !doc) return
    const members = membersOf(doc, node.data.index, sizeOf)
    const ids = new Set([...members.nodes, ...[...members.dots].map(dotId), ...[...members.groups].map(frameId)])
    setDrawn((drawn) => {
      held.current = { frame: node, members, places: new Map(drawn.filter((each) => ids.has(each.id)).map((each) => [each.id, each.position])) }
      return drawn
    })
  }, [setDrawn])

  const onNodeDrag = useCallback((_: unknown, node: Drawn) => {
    const now = held.current
    if (!now || now.frame.id !== node.id) return
    const by = { x: node.position.x - now.frame.position.x, y: node.position.y - now.frame.position.y }
    setDrawn((before) =>
      before.map((each) => {
        const place = now.places.get(each.id)
        return place ? { ...each, position: { x: place.x + by.x, y: place.y + by.y } } : each
      }),
    )
  }, [setDrawn])

  const onNodeDragStop = useCallback((_: unknown, node: Drawn, all: Drawn[]) => {
    const now = held.current
    held.current = null
    if (now && now.frame.id === node.id) {
      moveFrame(now.frame.data.index, [Math.round(node.position.x - now.frame.position.x), Math.round(node.position.y - now.frame.position.y)], now.members)
      return
    }
    if (copied.current.size) {
      const ids = copied.current
      copied.current = new Set()
      setDrawn((drawn) => drawn.filter((each) => !isCopy(each.id)))
      const places = all.filter((each) => ids.has(each.id)).map((each) => each.position)
      return duplicateAt(ids, [Math.round(Math.min(...places.map(({ x }) => x))), Math.round(Math.min(...places.map(({ y }) => y))) + TITLE_HEIGHT])
    }
    const nodes = new Map<string, Point>()
    const dots = new Map<string, Point>()
    for (const each of all) {
      if (isDot(each.id)) dots.set(dotOf(each.id), [Math.round(each.position.x) + DOT, Math.round(each.position.y) + DOT])
      else if (!isFrame(each.id)) nodes.set(each.id, [Math.round(each.position.x), Math.round(each.position.y) + TITLE_HEIGHT])
    }
    moveAll(nodes, dots)
  }, [setDrawn])

  const onSelectionDragStop = useCallback((_: unknown, all: Drawn[]) => all[0] && onNodeDragStop(null, all[0], all), [onNodeDragStop])
  return { onNodesChange, onNodeDragStart, onNodeDrag, onNodeDragStop, onSelectionDragStop }
}
