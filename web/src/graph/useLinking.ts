/** Making, moving and letting go of links with the pointer. */
import { useReactFlow, useStoreApi, type Connection, type Edge, type FinalConnectionState, type OnConnectStartParams } from '@xyflow/react'
import { useCallback, useEffect } from 'react'
import { useT } from '../i18n'
import { fittingInputs, portsOf } from '../model/connect'
import { inputsOf, linkInto, type Document, type Point } from '../model/document'
import { removeLinks } from '../model/edit'
import { useDefs } from '../state/definitions'
import { useDoc } from '../state/documents'
import { say, setView, tell, useView, type Dragging } from '../state/view'
import { cut, join } from './actions'
import type { Drawn } from './toFlow'

const pointOf = (event: MouseEvent | TouchEvent): Point => {
  const place = 'changedTouches' in event ? event.changedTouches[0] : event
  return [place?.clientX ?? 0, place?.clientY ?? 0]
}

export function useLinking() {
  const t = useT()
  const doc = useDoc()
  const definitions = useDefs()
  const flow = useReactFlow<Drawn, Edge>()

  const onConnectStart = useCallback(
    (_: unknown, params: OnConnectStartParams) => {
      const node = doc?.nodes.get(params.nodeId ?? '')
      if (!doc || !node || !params.handleId) return
      setView({ dragging: take(doc, definitions, node.id, params.handleId) })
    },
    [doc, definitions],
  )

  const onConnect = useCallback((connection: Connection) => {
    if (!connection.sourceHandle || !connection.targetHandle || useView.getState().dragging?.picked) return
    join({ from: connection.source, fromSlot: Number(connection.sourceHandle.slice(2)), to: connection.target, input: connection.targetHandle.slice(2) })
  }, [])

  /** Let go of over a node: the first free input, or the first output, that fits. Where all are taken, which one is to go is asked. */
  const offer = useCallback(
    (now: Document, drag: Dragging, hit: string, at: Point, replaced?: string): void => {
      const target = now.nodes.get(hit)
      if (!target) return
      if (drag.side === 'from') {
        const base = replaced ? removeLinks(now, [replaced]) : now
        const from = drag.ends.from ?? ''
        const fromSlot = drag.ends.fromSlot ?? 0
        const fitting = fittingInputs(base, definitions, from, fromSlot, target)[0]
        if (fitting && linkInto(base, target, fitting.name)) return setView({ palette: { kind: 'replace', at, place: null, filter: {}, pending: { from, fromSlot, to: hit, ...(replaced ? { moved: replaced } : {}) } } })
        const first = portsOf(now, target, definitions).inputs[0] ?? portsOf(now, target, definitions).widgets[0]
        if (fitting ?? first) join({ from, fromSlot, to: hit, input: (fitting ?? first)?.name ?? '' }, replaced)
        else tell(t('say.noInput', { type: drag.type }), 'error')
        return
      }
      const outputs = portsOf(now, target, definitions).outputs
      const output = outputs.find((each) => each.type === drag.type) ?? outputs[0]
      if (output) join({ from: hit, fromSlot: output.slot, to: drag.node, input: drag.ends.input ?? '' })
    },
    [definitions, t],
  )

  /** A link taken off its input: put on another one, or let go of. */
  const putDown = useCallback(
    (now: Document, drag: Dragging, at: Point): void => {
      const under = document.elementFromPoint(at[0], at[1])
      const picked = now.links.get(drag.picked ?? '')
      if (!picked) return
      const handle = under?.closest<HTMLElement>('.react-flow__handle-left')
      const hit = under?.closest<HTMLElement>('.react-flow__node-card')?.dataset.id
      if (handle?.dataset.nodeid !== undefined) {
        const input = handle.dataset.handleid?.slice(2) ?? ''
        const own = now.nodes.get(picked.to)
        if (handle.dataset.nodeid !== picked.to || (own && inputsOf(own)[picked.toSlot]?.name !== input)) join({ from: picked.from, fromSlot: picked.fromSlot, to: handle.dataset.nodeid, input }, picked.id)
      } else if (hit !== undefined && hit !== picked.to && hit !== picked.from) offer(now, drag, hit, at, picked.id)
      else if (under?.closest('.react-flow__pane, .react-flow__edges')) cut([picked.id])
    },
    [offer],
  )

  /** Finds a node for the end of a link that is in the air. */
  const openFor = useCallback(
    (drag: Dragging, at: Point): void => {
      const place = flow.screenToFlowPosition({ x: at[0], y: at[1] })
      setView({ palette: { kind: 'add', at, place: [place.x, place.y], filter: drag.side === 'from' ? { takes: drag.type } : { gives: drag.type }, pending: drag.ends } })
    },
    [flow],
  )

  const onConnectEnd = useCallback(
    (event: MouseEvent | TouchEvent, state: FinalConnectionState) => {
      const drag = useView.getState().dragging
      setView({ dragging: null })
      if (!drag || !doc || (state.toHandle && state.isValid && !drag.picked)) return
      const at = pointOf(event)
      const under = document.elementFromPoint(at[0], at[1])
      if (drag.picked) return putDown(doc, drag, at)
      const hit = under?.closest<HTMLElement>('.react-flow__node-card')?.dataset.id
      if (hit !== undefined) return hit === drag.node ? undefined : offer(doc, drag, hit, at)
      if (!under?.closest('.react-flow__pane')) return
      openFor(drag, at)
    },
    [doc, offer, openFor, putDown],
  )

  /** The other way, for fingers: tap one socket, then another, or an empty place. */
  const onClickConnectStart = useCallback(
    (_: unknown, params: OnConnectStartParams) => {
      if (!doc || !params.nodeId || !params.handleId) return
      const drag = take(removeLinks(doc, heldBy(doc, params.nodeId, params.handleId)), definitions, params.nodeId, params.handleId)
      setView({ dragging: drag })
      say(t('say.linking', { type: drag?.type ?? '' }))
    },
    [doc, definitions, t],
  )

  const onClickConnectEnd = useCallback(
    (event: MouseEvent | TouchEvent) => {
      const drag = useView.getState().dragging
      setView({ dragging: null })
      if (drag && (event.target as HTMLElement | null)?.classList.contains('react-flow__pane')) openFor(drag, pointOf(event))
    },
    [openFor],
  )

  const store = useStoreApi()
  useEffect(() => {
    const cancel = (event: KeyboardEvent): void => {
      if (event.key !== 'Escape' || !useView.getState().dragging) return
      store.setState({ connectionClickStartHandle: null })
      setView({ dragging: null })
    }
    window.addEventListener('keydown', cancel)
    return () => window.removeEventListener('keydown', cancel)
  }, [store])
  return { onConnectStart, onConnect, onConnectEnd, onClickConnectStart, onClickConnectEnd }
}

function heldBy(doc: Document, id: string, handle: string): string[] {
  const node = doc.nodes.get(id)
  const link = node && handle.startsWith('i:') ? linkInto(doc, node, handle.slice(2)) : undefined
  return link ? [link.id] : []
}

/** What is in the hand when a socket is taken: a new link, or the one that ends there. */
export function take(doc: Document, definitions: ReturnType<typeof useDefs>, id: string, handle: string): Dragging | null {
  const node = doc.nodes.get(id)
  if (!node) return null
  const ports = portsOf(doc, node, definitions, handle.startsWith('i:') ? handle.slice(2) : undefined)
  const name = handle.slice(2)
  if (name === '+') return { node: id, side: handle.startsWith('o:') ? 'from' : 'to', type: '*', ends: handle.startsWith('o:') ? { from: id, fromSlot: -1 } : { to: id, input: name } }
  if (handle.startsWith('o:')) {
    const type = ports.outputs[Number(name)]?.type
    return type === undefined ? null : { node: id, side: 'from', type, ends: { from: id, fromSlot: Number(name) } }
  }
  const held = linkInto(doc, node, name)
  const source = held && doc.nodes.get(held.from)
  if (held && source) {
    const given = portsOf(doc, source, definitions).outputs[held.fromSlot]?.type ?? held.type
    return { node: source.id, side: 'from', type: given, ends: { from: source.id, fromSlot: held.fromSlot }, picked: held.id }
  }
  const type = [...ports.inputs, ...ports.widgets].find((port) => port.name === name)?.type
  return type === undefined ? null : { node: id, side: 'to', type, ends: { to: id, input: name } }
}
