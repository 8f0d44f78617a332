import { Background, BackgroundVariant, MiniMap, ReactFlow, SelectionMode, useReactFlow, useStore } from '@xyflow/react'
import { useCallback, useEffect, useMemo, useRef, useState, type DragEvent, type MouseEvent as ReactMouseEvent } from 'react'
import { textIn, useT } from '../i18n'
import { takeDrop } from '../app/files'
import { useDefs } from '../state/definitions'
import { useDoc, useDocuments, usePrefix } from '../state/documents'
import { useSettings } from '../state/settings'
import { select, selected as selection, setView, useView } from '../state/view'
import { addDotAt, cut } from './actions'
import { setCamera, setPointer } from './camera'
import { FarLinks } from './FarLinks'
import { GraphLink } from './GraphLink'
import { FromFar, GraphNode } from './GraphNode'
import { GroupFrame } from './GroupFrame'
import { PathBar } from './PathBar'
import { PendingLink } from './PendingLink'
import { RerouteDot } from './RerouteDot'
import { isDot, isFrame, toEdges, toFlow, type Drawn, type LinkEdge } from './toFlow'
import { useCameras } from './useCameras'
import { useDragging } from './useDragging'
import { useLinking } from './useLinking'
import { useLongPress } from './useLongPress'

const NODE_TYPES = { card: GraphNode, frame: GroupFrame, dot: RerouteDot }
const EDGE_TYPES = { link: GraphLink }
const FAR_ZOOM = 0.35
const NO_EDGES: LinkEdge[] = []
const MANY = 200 // links; so many are drawn together when they are seen from far
const MULTI_KEYS = ['Shift', 'Control', 'Meta']
const PAN_BUTTONS = [0, 1]
const MAP_SIZE = { width: 170, height: 116 }
const mapColor = (node: Drawn): string => (node.type === 'frame' ? 'transparent' : node.selected ? 'var(--accent)' : 'var(--line-strong)')
// React Flow compares handlers by identity: new ones at every drawing would make it go over all nodes again.
const closeMenu = (): void => void (useView.getState().menu && setView({ menu: null }))

export function Graph() {
  const t = useT()
  // React Flow's own words are of its own keys, which are off here
  const language = useSettings((state) => state.language)
  const described = useMemo(() => ({ 'node.a11yDescription.default': textIn(language, 'canvas.label'), 'edge.a11yDescription.default': textIn(language, 'node.link') }), [language])
  const doc = useDoc()
  const place = `${useDocuments((state) => state.active)} ${usePrefix()}`
  const definitions = useDefs()
  const selected = useView((view) => view.selected)
  const linking = useView((view) => view.dragging)
  const far = useStore((state) => state.transform[2] < FAR_ZOOM)
  const [drawn, setDrawn] = useState<Drawn[]>([])
  const flow = useReactFlow<Drawn, LinkEdge>()
  const dragging = useDragging(setDrawn)
  const linkings = useLinking()
  const looking = useCameras(flow)
  const was = useRef('')

  useEffect(() => setCamera(flow), [flow])
  useEffect(() => {
    if (!doc) return
    const isSame = was.current === place // ids mean other nodes in another graph
    was.current = place
    setDrawn((before) => toFlow(doc, definitions, selected, isSame ? before : []))
  }, [doc, definitions, selected, place])
  const edges = useMemo(() => (doc ? toEdges(doc) : []), [doc])
  const shownEdges = useMemo(() => (linking?.picked ? edges.filter((edge) => edge.id !== linking.picked) : edges), [edges, linking])

  const asOne = far && edges.length > MANY

  useEffect(() => select([]), [place])

  const placeAt = useCallback((event: { clientX: number; clientY: number }) => {
    const at = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY })
    return [at.x, at.y] as const
  }, [flow])

  const onEdgeClick = useCallback((event: ReactMouseEvent, edge: LinkEdge) => {
    if (event.altKey) addDotAt(edge.id, placeAt(event))
  }, [placeAt])

  const onEdgeDoubleClick = useCallback((event: ReactMouseEvent, edge: LinkEdge) => {
    if (!event.altKey) cut([edge.id])
  }, [])

  const onEdgeMenu = useCallback((event: ReactMouseEvent, edge: LinkEdge) => {
    event.preventDefault()
    setView({ menu: { at: [event.clientX, event.clientY], kind: 'link', id: edge.id, place: placeAt(event) } })
  }, [placeAt])

  const onNodeClick = useCallback((event: ReactMouseEvent, node: Drawn) => {
    if (!event.shiftKey && !event.ctrlKey && !event.metaKey && selection().size > 1) select([node.id])
  }, [])

  const openAdd = useCallback(
    (event: ReactMouseEvent) => {
      if (!(event.target as HTMLElement).classList.contains('react-flow__pane')) return
      setView({ palette: { kind: 'add', at: [event.clientX, event.clientY], place: placeAt(event), filter: {}, pending: null } })
    },
    [placeAt],
  )

  const openMenu = useCallback(
    (event: ReactMouseEvent | MouseEvent, node?: Drawn) => {
      const target = event.target as HTMLElement
      if (target.closest('input, textarea')) return
      event.preventDefault()
      if (node && !selection().has(node.id)) select([node.id])
      const kind = !node ? 'canvas' : isFrame(node.id) ? 'group' : isDot(node.id) ? 'dot' : 'node'
      setView({ menu: { at: [event.clientX, event.clientY], kind, id: node?.id ?? '', place: placeAt(event) } })
    },
    [placeAt],
  )

  const onDrop = (event: DragEvent): void => {
    event.preventDefault()
    setView({ dropping: false })
    for (const file of event.dataTransfer.files) void takeDrop(file, placeAt(event))
  }

  return (
    <div
      className={`canvas ${linking ? 'linking' : ''} ${far ? 'from-far' : ''}`}
      id="canvas"
      tabIndex={0}
      role="region"
      aria-label={t('canvas.label')}
      onDoubleClick={openAdd}
      {...useLongPress()}
      onPointerMove={(event) => setPointer({ x: event.clientX, y: event.clientY })}
      onPointerLeave={(event) => event.relatedTarget instanceof Element && event.relatedTarget.closest('.side, .topbar') && setPointer(null)}
      onDragOver={(event) => {
        event.preventDefault()
        if (!useView.getState().dropping) setView({ dropping: true })
      }}
      onDragLeave={(event) => event.currentTarget === event.target && setView({ dropping: false })}
      onDrop={onDrop}
    >
      <FromFar value={far}>
        <ReactFlow<Drawn, LinkEdge>
          nodes={drawn}
          edges={asOne ? NO_EDGES : shownEdges}
          nodeTypes={NODE_TYPES}
          edgeTypes={EDGE_TYPES}
          {...dragging}
          {...linkings}
          {...looking}
          onNodeClick={onNodeClick}
          onEdgeClick={onEdgeClick}
          onEdgeDoubleClick={onEdgeDoubleClick}
          onEdgeContextMenu={onEdgeMenu}
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
          ariaLabelConfig={described}
          elevateNodesOnSelect
          onlyRenderVisibleElements={drawn.length > 60}
          nodeDragThreshold={1}
        >
          <Background variant={BackgroundVariant.Dots} gap={24} size={1.6} color="var(--bg-dots)" />
          {drawn.length > 12 && <MiniMap<Drawn> pannable zoomable ariaLabel={null} nodeColor={mapColor} style={MAP_SIZE} />}
          {asOne && <FarLinks edges={shownEdges} />}
        </ReactFlow>
      </FromFar>
      <PathBar />
    </div>
  )
}
