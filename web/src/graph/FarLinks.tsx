/** The links of a large graph seen from far, one drawing for each colour: a thousand SVGs take the browser too long. */
import { useStore, useStoreApi, ViewportPortal } from '@xyflow/react'
import { memo, useMemo } from 'react'
import type { Point } from '../model/document'
import { course } from './curve'
import { middleOfSocket } from './handles'
import { middleOfDot, type Drawn, type LinkEdge } from './toFlow'

export const FarLinks = memo(function FarLinks({ edges }: { readonly edges: readonly LinkEdge[] }) {
  const store = useStoreApi<Drawn, LinkEdge>()
  const nodes = useStore((state) => state.nodes) // another list whenever one is moved or measured
  const paths = useMemo(() => drawnByColor(edges, store.getState().nodeLookup), [edges, nodes, store])
  return (
    <ViewportPortal>
      <svg className="far-links" aria-hidden="true">
        {[...paths].map(([color, path]) => <path key={color} d={path} style={{ stroke: color }} />)}
      </svg>
    </ViewportPortal>
  )
})

type Lookup = ReturnType<ReturnType<typeof useStoreApi<Drawn, LinkEdge>>['getState']>['nodeLookup']

function drawnByColor(edges: readonly LinkEdge[], nodes: Lookup): ReadonlyMap<string, string> {
  const paths = new Map<string, string>()
  for (const edge of edges) {
    const start = middleOfSocket(nodes.get(edge.source), 'source', edge.sourceHandle)
    const end = middleOfSocket(nodes.get(edge.target), 'target', edge.targetHandle)
    if (!start || !end || !edge.data) continue
    const { color, dots } = edge.data
    const middle = dots.flatMap((id): Point[] => {
      const at = middleOfDot(nodes.get(id))
      return at ? [at] : []
    })
    paths.set(color, (paths.get(color) ?? '') + course([start, ...middle, end]))
  }
  return paths
}
