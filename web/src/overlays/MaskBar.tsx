import { Icon } from '../app/Icon'
import { useT } from '../i18n'
import type { Box, Brush, MaskEditing } from '../model/mask'

interface Props {
  readonly mask: MaskEditing
  readonly brush: Brush
  readonly setBrush: (brush: Brush) => void
  readonly redraw: (box: Box | null) => void
  readonly isChanged: boolean
  readonly leaving: boolean
  readonly save: () => void
  readonly close: () => void
}

/** The tools of the mask editor. */
export function MaskBar({ mask, brush, setBrush, redraw, isChanged, leaving, save, close }: Props) {
  const t = useT()
  return (
    <header>
      <div className="choice" role="group" aria-label={t('mask.tool')}>
        {([false, true] as const).map((erases) => (
          <button key={String(erases)} type="button" aria-pressed={brush.erases === erases} title={erases ? 'E' : 'B'} onClick={() => setBrush({ ...brush, erases })}>
            {t(erases ? 'mask.erase' : 'mask.brush')}
          </button>
        ))}
      </div>
      <label className="slide">
        {t('mask.size')}
        <input type="range" min="1" max={Math.max(100, Math.round(Math.max(mask.width, mask.height) / 2))} value={brush.size} onChange={(event) => setBrush({ ...brush, size: Number(event.target.value) })} />
        <output>{brush.size}</output>
      </label>
      <label className="slide">
        {t('mask.hardness')}
        <input type="range" min="0" max="100" value={Math.round(brush.hardness * 100)} onChange={(event) => setBrush({ ...brush, hardness: Number(event.target.value) / 100 })} />
        <output>{Math.round(brush.hardness * 100)}</output>
      </label>
      <div className="button-row">
        <button type="button" className="button square" aria-label={t('bar.undo')} title={`${t('bar.undo')} (Ctrl + Z)`} disabled={!mask.canUndo} onClick={() => redraw(mask.undo())}>
          <Icon name="undo" />
        </button>
        <button type="button" className="button square" aria-label={t('bar.redo')} title={`${t('bar.redo')} (Ctrl + Shift + Z)`} disabled={!mask.canRedo} onClick={() => redraw(mask.redo())}>
          <Icon name="redo" />
        </button>
        <button type="button" className="button" onClick={() => redraw(mask.change(() => 0))}>
          {t('mask.clear')}
        </button>
        <button type="button" className="button" onClick={() => redraw(mask.change(() => 255))}>
          {t('mask.fill')}
        </button>
        <button type="button" className="button" onClick={() => redraw(mask.change((value) => 255 - value))}>
          {t('mask.invert')}
        </button>
      </div>
      <span className="bar-gap" />
      <button type="button" className="button" onClick={close}>
        {t(leaving ? 'mask.discard' : 'save.cancel')}
      </button>
      <button type="button" className="button primary" disabled={!isChanged} title="Ctrl + S" onClick={save}>
        {t('save.ok')}
      </button>
      {leaving && (
        <p className="judged-line" role="alert">
          {t('mask.unsaved')}
        </p>
      )}
    </header>
  )
}
