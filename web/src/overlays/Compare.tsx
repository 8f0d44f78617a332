import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent } from 'react'
import { viewUrl, type Picture } from '../api/client'
import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import { useShots } from '../panels/shots'
import { setView } from '../state/view'
import { Dialog } from './Dialog'

type Size = readonly [number, number]
const MODES = ['slider', 'toggle', 'beside'] as const
type Mode = (typeof MODES)[number]

/** Two pictures in one frame, so that every pixel of one lies on the same pixel of the other. */
export default function Compare({ pictures }: { pictures: readonly [Picture, Picture] }) {
  const t = useT()
  const shots = useShots()
  const [mode, setMode] = useState<Mode>('slider')
  const [showsB, setShowsB] = useState(false)
  const [split, setSplit] = useState(50)
  const [sizes, setSizes] = useState<Readonly<Record<string, Size>>>({})
  const [a, b] = pictures.map((picture) => viewUrl(picture)) as [string, string]
  const close = (): void => setView({ compare: null })
  const press = (event: KeyboardEvent): void => {
    if (event.target instanceof HTMLInputElement && event.key !== 'x') return
    if (event.key === 'x') setView({ compare: [pictures[1], pictures[0]] })
    else if (event.key === ' ' && mode === 'toggle' && !(event.target instanceof HTMLButtonElement)) setShowsB(!showsB)
    else return
    event.preventDefault()
  }
  const learn = (url: string) => (event: { currentTarget: HTMLImageElement }) => {
    const { naturalWidth, naturalHeight } = event.currentTarget
    setSizes((old) => ({ ...old, [url]: [naturalWidth, naturalHeight] }))
  }
  const differ = sizes[a] && sizes[b] && (sizes[a][0] !== sizes[b][0] || sizes[a][1] !== sizes[b][1])
  const frame = { a, b, mode, split, setSplit, size: sizes[a] ?? sizes[b], showsB }
  return (
    <Dialog title={t('compare.title')} className="viewer compare" onClose={close} bare>
      <div className="contents" onKeyDown={press}>
        <header>
          <div className="choice" role="group" aria-label={t('compare.title')}>
            {MODES.map((each) => (
              <button key={each} type="button" data-first={each === 'slider' || undefined} aria-pressed={mode === each} onClick={() => setMode(each)}>
                {t(`compare.${each}`)}
              </button>
            ))}
          </div>
          {mode === 'toggle' && (
            <button type="button" className="button" aria-pressed={showsB} onClick={() => setShowsB(!showsB)}>
              {t('compare.now', { name: showsB ? 'B' : 'A' })}
            </button>
          )}
          <button type="button" className="button" title={`${t('compare.swap')} (X)`} onClick={() => setView({ compare: [pictures[1], pictures[0]] })}>
            {t('compare.swap')}
          </button>
          {differ && <span className="judged-line">{t('compare.sizes', { a: sizes[a]?.join(' × ') ?? '', b: sizes[b]?.join(' × ') ?? '' })}</span>}
          <span className="bar-gap" />
          <button type="button" className="button" onClick={close}>
            <Icon name="close" />
            {t('side.close')}
          </button>
        </header>
        <div className="hidden">
          <img src={a} alt="" onLoad={learn(a)} />
          <img src={b} alt="" onLoad={learn(b)} />
        </div>
        <Stage {...frame} names={[pictures[0].filename, pictures[1].filename]} />
        <ul className="film" aria-label={t('compare.film')}>
          {shots.map((shot) => {
            const url = viewUrl(shot.picture)
            return (
              <li key={shot.prompt}>
                <button type="button" aria-pressed={url === b} aria-label={t('compare.asB', { name: shot.picture.filename })} title={shot.picture.filename} onClick={() => setView({ compare: [pictures[0], shot.picture] })}>
                  <img src={url} alt="" loading="lazy" />
                  {url === a && <b>A</b>}
                  {url === b && <b className="second">B</b>}
                </button>
              </li>
            )
          })}
        </ul>
      </div>
    </Dialog>
  )
}

interface StageProps {
  readonly a: string
  readonly b: string
  readonly names: readonly [string, string]
  readonly mode: Mode
  readonly split: number
  readonly setSplit: (split: number) => void
  readonly showsB: boolean
  readonly size: Size | undefined
}

function Stage({ a, b, names, mode, split, setSplit, showsB, size }: StageProps) {
  const t = useT()
  const box = useRef<HTMLDivElement>(null)
  const [room, setRoom] = useState<Size>([0, 0])
  useEffect(() => {
    const held = box.current
    if (!held) return
    const watch = new ResizeObserver(() => setRoom([held.clientWidth, held.clientHeight]))
    watch.observe(held)
    return () => watch.disconnect()
  }, [])
  const [width, height] = fitted(size ?? [1, 1], mode === 'beside' ? [room[0] / 2 - 8, room[1]] : room)
  const style = { width, height, imageRendering: size && width > size[0] * 2 ? ('pixelated' as const) : undefined }
  const drag = (event: PointerEvent<HTMLDivElement>): void => {
    if (mode !== 'slider' || (event.type === 'pointermove' && !event.buttons)) return
    const frame = event.currentTarget.getBoundingClientRect()
    setSplit(Math.max(0, Math.min(100, (100 * (event.clientX - frame.left)) / frame.width)))
    if (event.type === 'pointerdown') event.currentTarget.setPointerCapture(event.pointerId)
  }
  if (mode === 'beside')
    return (
      <div className="frame-box beside" ref={box}>
        <figure>
          <img src={a} alt={names[0]} style={style} />
          <figcaption>A</figcaption>
        </figure>
        <figure>
          <img src={b} alt={names[1]} style={style} />
          <figcaption>B</figcaption>
        </figure>
      </div>
    )
  return (
    <div className="frame-box" ref={box}>
      <div className={`compare-frame ${mode}`} style={{ width, height }} onPointerDown={drag} onPointerMove={drag}>
        <img src={a} alt={names[0]} style={style} draggable={false} />
        <img src={b} alt={names[1]} draggable={false} style={{ ...style, clipPath: mode === 'slider' ? `inset(0 0 0 ${split}%)` : undefined, visibility: mode === 'toggle' && !showsB ? 'hidden' : undefined }} />
        {mode === 'slider' && (
          <>
            <i className="split" style={{ left: `${split}%` }} />
            <input type="range" min="0" max="100" step="1" aria-label={t('compare.split')} value={Math.round(split)} onChange={(event) => setSplit(Number(event.target.value))} />
            <b className="corner">A</b>
            <b className="corner second">B</b>
          </>
        )}
      </div>
    </div>
  )
}

/** The largest size that fits; a whole multiple of the picture's own where it is enlarged. */
function fitted(size: Size, room: Size): Size {
  const scale = Math.min(room[0] / size[0], room[1] / size[1])
  const kept = scale > 1 ? Math.floor(scale) : scale
  return [Math.round(size[0] * kept), Math.round(size[1] * kept)]
}
