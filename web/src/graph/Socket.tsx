import { Handle, Position } from '@xyflow/react'
import { memo, type CSSProperties } from 'react'
import { fits } from '../model/types'
import { useView } from '../state/view'
import { typeColor, typeShape } from './types'

interface Props {
  readonly side: 'in' | 'out'
  readonly id: string
  readonly node: string
  readonly type: string
  readonly linked: boolean
  readonly bare?: boolean
  readonly hint: string
}

export const Socket = memo(function Socket({ side, id, node, type, linked, bare, hint }: Props) {
  const mark = useView((view) => {
    const drag = view.dragging
    if (!drag) return ''
    if (drag.node === node) return ''
    if ((drag.side === 'from') !== (side === 'in')) return 'no'
    return (side === 'in' ? fits(drag.type, type) : fits(type, drag.type)) ? 'yes' : 'no'
  })
  return (
    <Handle
      type={side === 'in' ? 'target' : 'source'}
      position={side === 'in' ? Position.Left : Position.Right}
      id={id}
      className={`socket ${typeShape(type)} ${linked ? 'on' : ''} ${bare && !linked ? 'bare' : ''} ${mark}`}
      style={{ '--c': typeColor(type) } as CSSProperties}
      title={hint}
      aria-hidden="true"
    />
  )
})
