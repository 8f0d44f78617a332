/** Where the graph is looked at from: each one as it was left, one that was never seen as a whole. */
import type { ReactFlowInstance, Viewport } from '@xyflow/react'
import { useCallback, useEffect, useRef } from 'react'
import { TITLE_HEIGHT, type Document } from '../model/document'
import { cameraOf, keepCamera, placeCamera, type Camera } from '../state/cameras'
import { activeDoc, useDocuments, usePrefix } from '../state/documents'
import { standardSize } from './size'
import type { Drawn, LinkEdge } from './toFlow'

/** Whether anything of the graph can be seen from there. */
function shows(doc: Document, { x, y, zoom }: Camera): boolean {
  const box = document.getElementById('canvas')?.getBoundingClientRect()
  const [wide, high] = [box?.width ?? innerWidth, box?.height ?? innerHeight]
  return [...doc.nodes.values()].some((node) => {
    const [width, height] = node.size ?? standardSize(undefined)
    const left = node.pos[0] * zoom + x
    const top = (node.pos[1] - TITLE_HEIGHT) * zoom + y
    return left < wide && left + width * zoom > 0 && top < high && top + (height + TITLE_HEIGHT) * zoom > 0
  })
}

const isSame = (a: Camera, b: Camera): boolean => a.x === b.x && a.y === b.y && a.zoom === b.zoom

export function useCameras(flow: ReactFlowInstance<Drawn, LinkEdge>) {
  const tab = useDocuments((state) => state.active)
  const path = usePrefix()
  const shown = useRef<{ readonly of: readonly [string, string]; readonly from: Viewport } | null>(null) // null while another graph is being put up

  useEffect(() => {
    const leave = (): void => {
      const now = flow.getViewport()
      if (shown.current && !isSame(now, shown.current.from)) keepCamera(...shown.current.of, now) // what moves still has not told yet
      shown.current = null
    }
    const kept = cameraOf(tab, path)
    const doc = activeDoc()
    if (kept && doc && (!doc.nodes.size || shows(doc, kept))) {
      void flow.setViewport(kept)
      shown.current = { of: [tab, path], from: flow.getViewport() }
      return leave
    }
    let timer = window.setTimeout(() => {
      const keep = (): void => {
        shown.current = { of: [tab, path], from: flow.getViewport() }
        placeCamera(tab, path, shown.current.from)
      }
      if (!activeDoc()?.nodes.size) keep() // React Flow would fit the next graph instead
      else void flow.fitView({ padding: 0.03, maxZoom: window.innerWidth > 2000 ? 1.4 : 1 }).then(() => timer && keep())
    }, 60)
    return () => {
      clearTimeout(timer)
      timer = 0
      leave()
    }
  }, [tab, path, flow])

  const onMoveEnd = useCallback((_: unknown, { x, y, zoom }: Viewport) => {
    if (!shown.current || isSame({ x, y, zoom }, shown.current.from)) return
    shown.current = { ...shown.current, from: { x, y, zoom } }
    keepCamera(...shown.current.of, { x, y, zoom })
  }, [])
  return { onMoveEnd }
}
