import { lazy, Suspense, useEffect, useState } from 'react'
import { onAskClose } from '../app/closing'
import { setView, useView } from '../state/view'
import { Dropped } from './Dropped'
import { LargeText } from './LargeText'
import { Models } from './Models'
import { Packs } from './Packs'
import { ClearList } from './ClearList'
import { Closing, SaveAs } from './Saving'
import { Settings } from './Settings'
import { Shortcuts } from './Shortcuts'
import { Viewer } from './Viewer'
import { Workflows } from './Workflows'

// what not everybody opens is fetched when it is
const Compare = lazy(() => import('./Compare'))
const MaskEditor = lazy(() => import('./MaskEditor'))

/** Which window is open. */
export function Dialogs() {
  const dialog = useView((view) => view.dialog)
  const dropped = useView((view) => view.dropped)
  const picture = useView((view) => view.shown)
  const compare = useView((view) => view.compare)
  const mask = useView((view) => view.mask)
  const [naming, setNaming] = useState(false)
  const [closing, setClosing] = useState<string | null>(null)
  useEffect(() => {
    onAskClose(setClosing)
    const ask = (): void => setNaming(true)
    window.addEventListener('darkroom:save-as', ask)
    return () => window.removeEventListener('darkroom:save-as', ask)
  }, [])
  const close = (): void => setView({ dialog: null })
  return (
    <>
      {dialog === 'open' && <Workflows onClose={close} />}
      {dialog === 'settings' && <Settings onClose={close} />}
      {dialog === 'shortcuts' && <Shortcuts onClose={close} />}
      {dialog === 'text' && <LargeText onClose={close} />}
      {dialog === 'models' && <Models onClose={close} />}
      {dialog === 'packs' && <Packs onClose={close} />}
      {dialog === 'clear' && <ClearList onClose={close} />}
      {dropped && <Dropped />}
      {picture && <Viewer url={picture} />}
      <Suspense>{compare && <Compare pictures={compare} />}</Suspense>
      <Suspense>{mask && <MaskEditor asked={mask} />}</Suspense>
      {naming && <SaveAs onClose={() => setNaming(false)} />}
      {closing !== null && <Closing id={closing} onClose={() => setClosing(null)} onSave={() => setNaming(true)} />}
    </>
  )
}
