/** Sockets as React Flow knows them: their names, and where they are. */
import type { InternalNode } from '@xyflow/react'
import type { Point } from '../model/document'

export const handleIn = (input: string): string => `i:${input}`
export const handleOut = (slot: number): string => `o:${slot}`

/** The middle of a socket, where a link begins or ends; nothing as long as its card is not measured. */
export function middleOfSocket(card: InternalNode | undefined, side: 'source' | 'target', name: string | null | undefined): Point | undefined {
  const socket = card?.internals.handleBounds?.[side]?.find((each) => each.id === name)
  return card && socket && [card.internals.positionAbsolute.x + socket.x + socket.width / 2, card.internals.positionAbsolute.y + socket.y + socket.height / 2]
}
