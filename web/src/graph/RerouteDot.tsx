import { type NodeProps } from '@xyflow/react'
import { memo, type CSSProperties } from 'react'
import { useT } from '../i18n'
import type { Dot } from './toFlow'

/** A point that links run through: dragged, selected and removed like a node. */
export const RerouteDot = memo(function RerouteDot({ id, data, selected }: NodeProps<Dot>) {
  const t = useT()
  return <div className={`link-dot ${selected ? 'selected' : ''}`} style={{ '--c': data.color } as CSSProperties} role="img" aria-label={t('reroute.point')} title={t('reroute.hint')} data-dot={id} />
})
