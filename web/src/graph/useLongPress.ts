/** A finger that rests opens the menu that a right click opens. */
import { useMemo, useRef, type PointerEvent } from 'react'

const REST_MS = 480
const STILL = 10

export function useLongPress() {
  const held = useRef<{ timer: number; x: number; y: number } | null>(null)
  return useMemo(() => {
    const stop = (): void => {
      clearTimeout(held.current?.timer)
      held.current = null
    }
    return {
      onPointerDown: (event: PointerEvent) => {
        stop()
        if (event.pointerType !== 'touch' || !event.isPrimary) return
        const { target, clientX, clientY } = event
        const timer = window.setTimeout(() => {
          stop()
          target.dispatchEvent(new MouseEvent('contextmenu', { bubbles: true, cancelable: true, clientX, clientY }))
        }, REST_MS)
        held.current = { timer, x: clientX, y: clientY }
      },
      onPointerMove: (event: PointerEvent) => {
        if (held.current && Math.hypot(event.clientX - held.current.x, event.clientY - held.current.y) > STILL) stop()
      },
      onPointerUp: stop,
      onPointerCancel: stop,
    }
  }, [])
}
