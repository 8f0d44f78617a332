import { wordsOf } from '../app/refusals'
import { useEffect, useRef, useState } from 'react'
import { setField } from '../graph/actions'
import { t as text, useT } from '../i18n'
import { toText } from '../io/json'
import { MaskEditing, type Box, type Brush } from '../model/mask'
import { loadDefinitions } from '../state/definitions'
import { nodeCalled } from '../state/documents'
import { setView, tell, type MaskAsked } from '../state/view'
import { inputPicture } from '../widgets/inputPicture'
import { Dialog } from './Dialog'
import { MaskBar } from './MaskBar'
import { colourUrl, readMask, storeMask, tint } from './maskPicture'
import { MaskSheet } from './MaskSheet'

/** Painting over a picture: where a sampler may change it. Every step can be taken back, exactly. */
export default function MaskEditor({ asked }: { asked: MaskAsked }) {
  const t = useT()
  const value = toText(nodeCalled(asked.node)?.values[asked.input])
  const [picture] = useState(() => inputPicture(value))
  const [mask, setMask] = useState<MaskEditing | null>(null)
  const [brush, setBrush] = useState<Brush>({ size: 40, hardness: 0.8, erases: false })
  const [saved, setSaved] = useState<unknown>(undefined)
  const [, drawn] = useState(0)
  const [leaving, setLeaving] = useState(false)
  const sheet = useRef<HTMLCanvasElement>(null)
  const isChanged = mask !== null && mask.mark !== saved
  const close = (): void => (isChanged && !leaving ? setLeaving(true) : setView({ mask: null }))

  useEffect(() => {
    if (!picture) return setView({ mask: null })
    readMask(picture).then(
      ({ width, height, values }) => {
        setMask(new MaskEditing(width, height, values))
        setBrush((old) => ({ ...old, size: Math.max(2, Math.round(Math.min(width, height) / 8)) }))
      },
      () => (tell(text('mask.unreadable', { name: value }), 'error'), setView({ mask: null })),
    )
  }, [picture, value])

  const redraw = (box: Box | null): void => {
    const context = sheet.current?.getContext('2d')
    if (context && mask && box) tint(context, mask, box)
    drawn((count) => count + 1)
    setLeaving(false)
  }
  const save = async (): Promise<void> => {
    if (!mask || !picture) return
    try {
      const name = await storeMask(picture, mask)
      await loadDefinitions()
      setField(asked.node, asked.input, name)
      setSaved(mask.mark)
      setView({ mask: null })
      tell(text('mask.saved', { name }))
    } catch (error) {
      tell(text('field.uploadFailed', { message: wordsOf(error) }), 'error')
    }
  }
  const press = (event: React.KeyboardEvent): void => {
    const key = event.key.toLowerCase()
    const mod = event.ctrlKey || event.metaKey
    if (mod && (key === 'y' || (key === 'z' && event.shiftKey))) redraw(mask?.redo() ?? null)
    else if (mod && key === 'z') redraw(mask?.undo() ?? null)
    else if (mod && key === 's') void save()
    else if (mod || event.altKey) return
    else if (key === 'b') setBrush({ ...brush, erases: false })
    else if (key === 'e') setBrush({ ...brush, erases: true })
    else if (key === '[') setBrush({ ...brush, size: Math.max(1, Math.round(brush.size / 1.2 - 0.5)) })
    else if (key === ']') setBrush({ ...brush, size: Math.min(600, Math.round(brush.size * 1.2 + 0.5)) })
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  if (!picture) return null
  return (
    <Dialog title={t('mask.title')} className="viewer mask" onClose={close} bare>
      <div className="contents" onKeyDown={press}>
        {mask && <MaskBar mask={mask} brush={brush} setBrush={setBrush} redraw={redraw} isChanged={isChanged} leaving={leaving} save={() => void save()} close={close} />}
        {mask && <MaskSheet key={colourUrl(picture)} sheet={sheet} mask={mask} brush={brush} url={colourUrl(picture)} redraw={redraw} />}
      </div>
    </Dialog>
  )
}
