import { useEffect } from 'react'
import { setView, useView } from '../state/view'

export function Toast() {
  const toast = useView((view) => view.toast)
  const said = useView((view) => view.said)
  useEffect(() => {
    if (!toast) return
    const timer = setTimeout(() => setView({ toast: null }), toast.kind === 'error' ? 7000 : 2600)
    return () => clearTimeout(timer)
  }, [toast])
  return (
    <>
      <div className="hidden" role="status" aria-live="polite">
        {said}
      </div>
      {toast && <div className={`toast ${toast.kind}`}>{toast.text}</div>}
    </>
  )
}
