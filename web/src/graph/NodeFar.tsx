/** A card seen from far: its name alone, exactly as large, so that no link has to move. */
import type { Json } from '../io/json'

export function NodeFar({ name, height, selected, problem, color }: { name: string; height: number; selected: boolean; problem: boolean; color: Json | undefined }) {
  return (
    <div className={`far ${selected ? 'selected' : ''} ${problem ? 'problem' : ''}`} style={{ height, ...(typeof color === 'string' ? { background: `color-mix(in srgb, ${color} 55%, var(--node-head))` } : {}) }}>
      <span>{name}</span>
    </div>
  )
}
