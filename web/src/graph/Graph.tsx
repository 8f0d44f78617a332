import {
  applyNodeChanges,
  Background,
  BackgroundVariant,
  MiniMap,
  ReactFlow,
  SelectionMode,
  useReactFlow,
  useStore,
  type Connection,
  type Edge,
  type FinalConnectionState,
  type NodeChange,
  type OnConnectStartParams,
} from '@xyflow/react'
import { useCallback, useEffect, useMemo, useRef, useState, type DragEvent, type MouseEvent as ReactMouseEvent } from 'react'
import { useT } from '../i18n'
import { fittingInputs, portsOf } from '../model/connect'
import { inputsOf, linkInto, TITLE_HEIGHT, type Document, type Point } from '../model/document'
import { removeLinks } from '../model/edit'
import { duplicateInPlace } from '../app/edits'
import { takeDrop } from '../app/files'
import { useDefinitions } from '../state/definitions'
import { activeDoc, useDoc, useDocuments } from '../state/documents'
import { select, selected as selection, setView, tell, useView, type Dragging } from '../state/view'
import { cut, join, move, moveFrame } from './actions'
import { setCamera } from './camera'
import { FAR_ZOOM, GraphNode } from './GraphNode'
import { GroupFrame } from './GroupFrame'
import { PendingLink } from './PendingLink'
import { isFrame, toEdges, toFlow, type Drawn, type Frame } from './toFlow'

const NODE_TYPES = { card: GraphNode, frame: GroupFrame }
const MULTI_KEYS = ['Shift', 'Control', 'Meta']

const PAN_BUTTONS = [0, 1]
const MAP_SIZE = { width: 170, height: 116 }
// React Flow compares these by identity: new ones at every drawing would make it go over all nodes again.
const onEdgeClick = (event: ReactMouseEvent, edge: Edge): void => void (event.altKey && cut([edge.id]))
const closeMenu = (): void => void (useView.getState().menu && setView({ menu: null }))

const pointOf = (event: MouseEvent | TouchEvent): Point => {
  const place = 'changedTouches' in event ? event.changedTouches[0] : event
  return [place?.clientX ?? 0, place?.clientY ?? 0]
}

export function Graph() {
  const t = useT()
  const doc = useDoc()
  const tab = useDocuments((state) => state.active)
  const definitions = useDefinitions((state) => state.definitions)
  const selected = useView((view) => view.selected)
  const linking = useView((view) => view.dragging)
  const far = useStore((state) => state.transform[2] < FAR_ZOOM)
  const [drawn, setDrawn] = useState<Drawn[]>([])
  const flow = useReactFlow<Drawn, Edge>()
  const grabbed = useRef<{ frame: Frame; inside: Set<string> } | null>(null)

  useEffect(() => setCamera(flow), [flow])
  useEffect(() => {
    if (doc) setDrawn((before) => toFlow(doc, definitions, selected, before))
  }, [doc, definitions, selected])
  const edges = useMemo(() => (doc ? toEdges(doc) : []), [doc])
  const shownEdges = useMemo(() => (linking?.picked ? edges.filter((edge) => edge.id !== linking.picked) : edges), [edges, linking])

  useEffect(() => select([]), [tab])
  useEffect(() => {
    const timer = setTimeout(() => void flow.fitView({ padding: 0.03, maxZoom: window.innerWidth > 2000 ? 1.4 : 1 }), 60)
    return () => clearTimeout(timer)
  }, [tab, flow])

  const onNodesChange = useCallback((changes: NodeChange<Drawn>[]) => {
    const picks = changes.filter((change) => change.type === 'select')
    if (picks.length) {
      const next = new Set(selection())
      for (const change of picks) change.selected ? next.add(change.id) : next.delete(change.id)
      select(next)
    }
    const rest = changes.filter((change) => change.type === 'position' || change.type === 'dimensions')
    if (rest.length) setDrawn((before) => applyNodeChanges(rest, before))
  }, [])

  const onNodeDragStart = useCallback((event: MouseEvent | TouchEvent | ReactMouseEvent, node: Drawn) => {
    grabbed.current = null
    if ('altKey' in event && event.altKey) duplicateInPlace(selection().has(node.id) ? selection() : new Set([node.id]))
    if (node.type !== 'frame') return
    const [x, y, width, height] = node.data.group.box
    const inside = new Set<string>()
    for (const each of activeDoc()?.nodes.values() ?? []) if (each.pos[0] >= x && each.pos[1] - TITLE_HEIGHT >= y && each.pos[0] < x + width && each.pos[1] < y + height) inside.add(each.id)
    grabbed.current = { frame: node, inside }
  }, [])

  const onNodeDrag = useCallback((_: unknown, node: Drawn) => {
    const held = grabbed.current
    if (!held || held.frame.id !== node.id) return
    const by: Point = [node.position.x - held.frame.position.x, node.position.y - held.frame.position.y]
    const now = activeDoc()
    setDrawn((before) => before.map((each) => (held.inside.has(each.id) && now?.nodes.get(each.id) ? { ...each, position: { x: (now.nodes.get(each.id)?.pos[0] ?? 0) + by[0], y: (now.nodes.get(each.id)?.pos[1] ?? 0) - TITLE_HEIGHT + by[1] } } : each)))
  }, [])

  const onNodeDragStop = useCallback((_: unknown, node: Drawn, all: Drawn[]) => {
    const held = grabbed.current
    grabbed.current = null
    if (held && held.frame.id === node.id) {
      moveFrame(held.frame.data.index, [Math.round(node.position.x - held.frame.position.x), Math.round(node.position.y - held.frame.position.y)], held.inside)
      return
    }
    const places = new Map<string, Point>()
    for (const each of all) if (!isFrame(each.id)) places.set(each.id, [Math.round(each.position.x), Math.round(each.position.y) + TITLE_HEIGHT])
    move(places)
  }, [])

  const onSelectionDragStop = useCallback((_: unknown, all: Drawn[]) => all[0] && onNodeDragStop(null, all[0], all), [onNodeDragStop])

  const onConnectStart = useCallback(
    (_: unknown, params: OnConnectStartParams) => {
      const node = doc?.nodes.get(params.nodeId ?? '')
      if (!node || !params.handleId) return
      const ports = portsOf(node, definitions)
      const isOut = params.handleId.startsWith('o:')
      const name = params.handleId.slice(2)
      const type = isOut ? ports.outputs[Number(name)]?.type : [...ports.inputs, ...ports.widgets].find((port) => port.name === name)?.type
      const held = isOut ? undefined : linkInto(doc as Document, node, name)
      const source = held && doc?.nodes.get(held.from)
      if (held && source) {
        const given = portsOf(source, definitions).outputs[held.fromSlot]?.type ?? held.type
        setView({ dragging: { node: source.id, side: 'from', type: given, ends: { from: source.id, fromSlot: held.fromSlot }, picked: held.id } })
      } else if (type !== undefined) setView({ dragging: { node: node.id, side: isOut ? 'from' : 'to', type, ends: isOut ? { from: node.id, fromSlot: Number(name) } : { to: node.id, input: name } } })
    },
    [doc, definitions],
  )

  const connectEnds = useCallback((connection: Connection) => {
    if (!connection.sourceHandle || !connection.targetHandle || useView.getState().dragging?.picked) return
    join({ from: connection.source, fromSlot: Number(connection.sourceHandle.slice(2)), to: connection.target, input: connection.targetHandle.slice(2) })
  }, [])

  const onConnectEnd = useCallback(
    (event: MouseEvent | TouchEvent, state: FinalConnectionState) => {
      const drag = useView.getState().dragging
      setView({ dragging: null })
      if (!drag || !doc || (state.toHandle && state.isValid && !drag.picked)) return
      const at = pointOf(event)
      const under = document.elementFromPoint(at[0], at[1])
      if (drag.picked) return drop(doc, drag, under)
      const hit = under?.closest<HTMLElement>('.react-flow__node-card')?.dataset.id
      if (hit !== undefined && hit !== drag.node) {
        const target = doc.nodes.get(hit)
        if (!target) return
        if (drag.side === 'from') {
          const fitting = fittingInputs(doc, definitions, drag.node, drag.ends.fromSlot ?? 0, target)[0]
          const first = portsOf(target, definitions).inputs[0] ?? portsOf(target, definitions).widgets[0]
          if (fitting) join({ from: drag.node, fromSlot: drag.ends.fromSlot ?? 0, to: hit, input: fitting.name })
          else if (first) join({ from: drag.node, fromSlot: drag.ends.fromSlot ?? 0, to: hit, input: first.name })
          else tell(t('say.noInput', { type: drag.type }), 'error')
        } else {
          const outputs = portsOf(target, definitions).outputs
          const output = outputs.find((each) => each.type === drag.type) ?? outputs[0]
          if (output) join({ from: hit, fromSlot: output.slot, to: drag.node, input: drag.ends.input ?? '' })
        }
        return
      }
      if (!under?.closest('.react-flow__pane')) return
      const place = flow.screenToFlowPosition({ x: at[0], y: at[1] })
      setView({ palette: { kind: 'add', at, place: [place.x, place.y], filter: drag.side === 'from' ? { takes: drag.type } : { gives: drag.type }, pending: drag.ends } })
    },
    [doc, definitions, flow, t],
  )

  /** A link taken off its input: put on another one, or let go of. */
  const drop = (now: Document, drag: Dragging, under: Element | null): void => {
    const picked = now.links.get(drag.picked ?? '')
    if (!picked) return
    const handle = under?.closest<HTMLElement>('.react-flow__handle-left')
    const hit = under?.closest<HTMLElement>('.react-flow__node-card')?.dataset.id
    const ends = { from: picked.from, fromSlot: picked.fromSlot }
    if (handle?.dataset.nodeid !== undefined) {
      const input = handle.dataset.handleid?.slice(2) ?? ''
      const own = now.nodes.get(picked.to)
      if (handle.dataset.nodeid !== picked.to || (own && inputsOf(own)[picked.toSlot]?.name !== input)) join({ ...ends, to: handle.dataset.nodeid, input }, picked.id)
    } else if (hit !== undefined && hit !== picked.to && hit !== picked.from) {
      const target = now.nodes.get(hit)
      const fitting = target && fittingInputs(removeLinks(now, [picked.id]), definitions, picked.from, picked.fromSlot, target)[0]
      if (fitting) join({ ...ends, to: hit, input: fitting.name }, picked.id)
      else tell(t('say.noInput', { type: drag.type }), 'error')
    } else if (under?.closest('.react-flow__pane, .react-flow__edges')) cut([picked.id])
  }

  const openAdd = useCallback(
    (event: ReactMouseEvent) => {
      if (!(event.target as HTMLElement).classList.contains('react-flow__pane')) return
      const place = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY })
      setView({ palette: { kind: 'add', at: [event.clientX, event.clientY], place: [place.x, place.y], filter: {}, pending: null } })
    },
    [flow],
  )

  const openMenu = useCallback(
    (event: ReactMouseEvent | MouseEvent, node?: Drawn) => {
      const target = event.target as HTMLElement
      if (target.closest('input, textarea')) return
      event.preventDefault()
      if (node && !selection().has(node.id)) select([node.id])
      const place = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY })
      setView({ menu: { at: [event.clientX, event.clientY], kind: node ? (isFrame(node.id) ? 'group' : 'node') : 'canvas', id: node?.id ?? '', place: [place.x, place.y] } })
    },
    [flow],
  )

  const onDrop = (event: DragEvent): void => {
    event.preventDefault()
    setView({ dropping: false })
    const place = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY })
    for (const file of event.dataTransfer.files) void takeDrop(file, [place.x, place.y])
  }

  return (
    <div
      className={`canvas ${linking ? 'linking' : ''} ${far ? 'from-far' : ''}`}
      id="canvas"
      tabIndex={0}
      role="region"
      aria-label={t('canvas.label')}
      onDoubleClick={openAdd}
      onDragOver={(event) => {
        event.preventDefault()
        if (!useView.getState().dropping) setView({ dropping: true })
      }}
      onDragLeave={(event) => event.currentTarget === event.target && setView({ dropping: false })}
      onDrop={onDrop}
    >
      <ReactFlow<Drawn, Edge>
        nodes={drawn}
        edges={shownEdges}
        nodeTypes={NODE_TYPES}
        onNodesChange={onNodesChange}
        onNodeDragStart={onNodeDragStart}
        onNodeDrag={onNodeDrag}
        onNodeDragStop={onNodeDragStop}
        onSelectionDragStop={onSelectionDragStop}
        onConnectStart={onConnectStart}
        onConnect={connectEnds}
        onConnectEnd={onConnectEnd}
        onEdgeClick={onEdgeClick}
        onPaneClick={closeMenu}
        onPaneContextMenu={openMenu}
        onNodeContextMenu={openMenu}
        onMoveStart={closeMenu}
        connectionLineComponent={PendingLink}
        connectionRadius={18}
        selectionKeyCode={MULTI_KEYS}
        multiSelectionKeyCode={MULTI_KEYS}
        selectionMode={SelectionMode.Partial}
        deleteKeyCode={null}
        panActivationKeyCode="Space"
        panOnDrag={PAN_BUTTONS}
        zoomOnDoubleClick={false}
        minZoom={0.06}
        maxZoom={3}
        nodesFocusable={false}
        edgesFocusable={false}
        disableKeyboardA11y
        elevateNodesOnSelect
        onlyRenderVisibleElements={drawn.length > 60}
        nodeDragThreshold={1}
      >
        <Background variant={BackgroundVariant.Dots} gap={24} size={1.6} color="var(--bg-dots)" />
        {drawn.length > 12 && <MiniMap<Drawn> pannable zoomable ariaLabel={null} nodeColor="var(--line-strong)" style={MAP_SIZE} />}
      </ReactFlow>
    </div>
  )
}
