import { ReactFlowProvider, useStore } from '@xyflow/react'
import { useEffect } from 'react'
import { fit, zoom } from '../graph/camera'
import { Graph } from '../graph/Graph'
import { useT } from '../i18n'
import { Dialogs } from '../overlays/Dialogs'
import { Menu } from '../overlays/Menu'
import { Palette } from '../overlays/Palette'
import { Toast } from '../overlays/Toast'
import { Side } from '../panels/Side'
import { useDefinitions } from '../state/definitions'
import { useDoc, useTab } from '../state/documents'
import { useRun } from '../state/run'
import { useSettings } from '../state/settings'
import { useView } from '../state/view'
import { startAuto } from './auto'
import { startChecking } from './check'
import { keysOf } from './commands'
import { Icon } from './Icon'
import { listen } from './keyboard'
import { TopBar } from './TopBar'

export function App() {
  const sideOpen = useSettings((state) => state.sideOpen)
  useEffect(listen, [])
  useEffect(startAuto, [])
  useEffect(startChecking, [])
  useTitle()
  return (
    <ReactFlowProvider>
      <div className={`app ${sideOpen ? 'with-side' : ''}`}>
        <TopBar />
        <main style={{ display: 'grid', minWidth: 0, minHeight: 0, position: 'relative' }}>
          <Graph />
          <Overlay />
        </main>
        {sideOpen && <Side />}
      </div>
      <RunLine />
      <Lost />
      <Menu />
      <Palette />
      <Dialogs />
      <Toast />
    </ReactFlowProvider>
  )
}

function Overlay() {
  const t = useT()
  const doc = useDoc()
  const dropping = useView((view) => view.dropping)
  const state = useDefinitions((definitions) => definitions.state)
  const percent = useStore((store) => Math.round(store.transform[2] * 100))
  return (
    <>
      {doc && !doc.nodes.size && (
        <div className="empty">
          <b>{t('canvas.empty')}</b>
          {t('canvas.emptyHint')}
        </div>
      )}
      {state === 'failed' && <div className="trouble">{t('app.noServer')}</div>}
      {dropping && <div className="dropzone">{t('drop.here')}</div>}
      <div className="zoombox">
        <button type="button" className="button bare square" aria-label={t('bar.zoomOut')} title={t('bar.zoomOut')} onClick={() => zoom('out')}>
          <Icon name="minus" />
        </button>
        <output>{percent} %</output>
        <button type="button" className="button bare square" aria-label={t('bar.zoomIn')} title={t('bar.zoomIn')} onClick={() => zoom('in')}>
          <Icon name="plus" />
        </button>
        <button type="button" className="button bare square" aria-label={t('bar.fit')} title={`${t('bar.fit')} (${keysOf('fit')})`} onClick={() => fit()}>
          <Icon name="fit" />
        </button>
      </div>
    </>
  )
}

/** How much of the running workflow is done: nodes, and the running node's part. */
function useShare(): number | null {
  const doc = useDoc()
  const tab = useTab()?.id
  return useRun((state) => {
    if (!state.current || state.current.doc !== tab || !doc) return state.current ? 0 : null
    const runs = state.nodes[state.current.doc] ?? {}
    let done = 0
    for (const run of Object.values(runs)) done += run.state === 'done' || run.state === 'cached' ? 1 : run.state === 'running' && run.max > 0 ? run.value / run.max : 0
    return Math.min(1, done / Math.max(1, doc.nodes.size))
  })
}

function RunLine() {
  const share = useShare()
  if (share === null) return null
  return (
    <div className="progress-line">
      <i style={{ width: `${Math.max(2, share * 100)}%` }} />
    </div>
  )
}

function useTitle(): void {
  const share = useShare()
  const name = useTab()?.name ?? ''
  useEffect(() => {
    document.title = `${share === null ? '' : `${Math.round(share * 100)} % · `}${name ? `${name} – ` : ''}Darkroom`
  }, [share, name])
}

function Lost() {
  const t = useT()
  const connected = useRun((state) => state.connected)
  return connected === false ? (
    <div className="lost" role="alert">
      {t('app.lost')}
    </div>
  ) : null
}
