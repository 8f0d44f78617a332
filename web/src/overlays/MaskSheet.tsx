import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type PointerEvent, type RefObject } from 'react'
import { useT } from '../i18n'
import type { Box, Brush, MaskEditing } from '../model/mask'
import { tint } from './maskPicture'

type Point = readonly [number, number]

interface Props {
  readonly sheet: RefObject<HTMLCanvasElement | null>
  readonly mask: MaskEditing
  readonly brush: Brush
  readonly url: string
  readonly redraw: (box: Box | null) => void
}

interface Camera {
  readonly scale: number
  readonly x: number
  readonly y: number
}

/** The picture with the mask over it: drawn upon with pointer or keys, zoomed with the wheel, moved with the middle button. */
export function MaskSheet({ sheet, mask, brush, url, redraw }: Props) {
  const t = useT()
  const room = useRef<HTMLDivElement>(null)
  const [camera, setCamera] = useState<Camera>({ scale: 1, x: 0, y: 0 })
  const [pen, setPen] = useState<Point | null>(null)
  const [down, setDown] = useState(false)

  useLayoutEffect(() => {
    const context = sheet.current?.getContext('2d')
    if (context) tint(context, mask, [0, 0, mask.width, mask.height])
    sheet.current?.focus()
    const held = room.current
    if (!held) return
    const fit = (): void => {
      const scale = Math.min((held.clientWidth - 24) / mask.width, (held.clientHeight - 24) / mask.height)
      setCamera({ scale, x: (held.clientWidth - mask.width * scale) / 2, y: (held.clientHeight - mask.height * scale) / 2 })
    }
    const watch = new ResizeObserver(fit)
    watch.observe(held)
    return () => watch.disconnect()
  }, [mask, sheet])

  useEffect(() => {
    const held = room.current
    if (!held) return
    const zoom = (event: WheelEvent): void => {
      event.preventDefault()
      const box = held.getBoundingClientRect()
      const at: Point = [event.clientX - box.left, event.clientY - box.top]
      setCamera((old) => {
        const scale = Math.max(0.05, Math.min(40, old.scale * Math.exp(-event.deltaY / 400)))
        return { scale, x: at[0] - ((at[0] - old.x) * scale) / old.scale, y: at[1] - ((at[1] - old.y) * scale) / old.scale }
      })
    }
    held.addEventListener('wheel', zoom, { passive: false })
    return () => held.removeEventListener('wheel', zoom)
  }, [])

  const place = (event: PointerEvent): Point => {
    const box = room.current?.getBoundingClientRect()
    return [(event.clientX - (box?.left ?? 0) - camera.x) / camera.scale, (event.clientY - (box?.top ?? 0) - camera.y) / camera.scale]
  }
  const start = (event: PointerEvent<HTMLDivElement>): void => {
    event.currentTarget.setPointerCapture(event.pointerId)
    if (event.button === 0) redraw(mask.begin(place(event), brush))
  }
  const go = (event: PointerEvent<HTMLDivElement>): void => {
    setPen(place(event))
    if (event.buttons & 4) setCamera((old) => ({ ...old, x: old.x + event.movementX, y: old.y + event.movementY }))
    else if (event.buttons & 1) for (const each of event.nativeEvent.getCoalescedEvents?.() ?? [event.nativeEvent]) redraw(mask.draw(place(each as unknown as PointerEvent)))
  }
  const stop = (event: PointerEvent): void => {
    if (event.button !== 0) return
    mask.end()
    redraw(null)
  }
  /** Arrows move the pen, Space sets it down and lifts it. */
  const press = (event: KeyboardEvent): void => {
    const step = event.shiftKey ? 1 : Math.max(1, brush.size / 4)
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key]
    const now = pen ?? ([mask.width / 2, mask.height / 2] as const)
    if (by) {
      const next: Point = [Math.max(0, Math.min(mask.width, now[0] + (by[0] as number))), Math.max(0, Math.min(mask.height, now[1] + (by[1] as number)))]
      setPen(next)
      if (down) redraw(mask.draw(next))
    } else if (event.key === ' ') {
      setPen(now)
      if (down) mask.end()
      redraw(down ? null : mask.begin(now, brush))
      setDown(!down)
    } else return
    event.preventDefault()
    event.stopPropagation()
  }
  const size = { width: mask.width * camera.scale, height: mask.height * camera.scale, imageRendering: camera.scale > 2 ? ('pixelated' as const) : undefined }
  return (
    <div className="mask-room" ref={room} onPointerDown={start} onPointerMove={go} onPointerUp={stop} onPointerLeave={() => setPen(null)}>
      <div className="mask-stack" style={{ translate: `${camera.x}px ${camera.y}px` }}>
        <img src={url} alt="" style={size} draggable={false} />
        <canvas ref={sheet} width={mask.width} height={mask.height} style={size} tabIndex={0} role="application" aria-label={t('mask.sheet')} onKeyDown={press} onBlur={() => (down && mask.end(), setDown(false))} />
        {pen && <i className={`pen ${brush.erases ? 'erases' : ''} ${down ? 'down' : ''}`} style={{ width: brush.size * camera.scale, height: brush.size * camera.scale, translate: `${(pen[0] - brush.size / 2) * camera.scale}px ${(pen[1] - brush.size / 2) * camera.scale}px` }} />}
      </div>
    </div>
  )
}
