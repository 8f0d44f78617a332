/** Running by itself: whenever something that is sent has changed, or again and again. */
import { create } from 'zustand'
import { toApi } from '../io/api'
import { writeJson, type Json } from '../io/json'
import { activeTab, useDocuments } from '../state/documents'
import { useRun } from '../state/run'
import { withoutSeeds } from '../state/seeds'
import { serverDefinitions } from '../state/server'
import { runOpen } from './queue'

export type Auto = 'off' | 'change' | 'repeat'
export const useAuto = create<{ readonly mode: Auto }>(() => ({ mode: 'off' }))

const CALM_MS = 350

let ran = ''
let busy = false
let timer = 0

/** What would be sent: positions, titles and colours are no reason to run again. */
function wanted(): string {
  const tab = activeTab()
  return tab ? `${tab.id} ${writeJson(toApi(withoutSeeds(tab.id, tab.history.present), serverDefinitions()) as unknown as Json)}` : ''
}

export function setAuto(mode: Auto): void {
  ran = mode === 'change' ? wanted() : ''
  useAuto.setState({ mode })
  if (mode === 'repeat') soon()
}

export const autoOff = (): void => setAuto('off')

function soon(): void {
  clearTimeout(timer)
  if (useAuto.getState().mode !== 'off') timer = window.setTimeout(() => void runAgain(), CALM_MS)
}

async function runAgain(): Promise<void> {
  const { mode } = useAuto.getState()
  if (busy || mode === 'off' || useRun.getState().remaining > 0) return
  if (mode === 'change' && wanted() === ran) return
  busy = true
  const taken = await runOpen()
  busy = false
  ran = wanted() // seeds that the run has picked are no change
  if (mode !== 'repeat') return
  if (!taken) autoOff()
  else setTimeout(soon, 1000) // a run with everything cached may end before the queue was seen to be full
}

/** Listens for changes and for the queue's end. */
export function startAuto(): () => void {
  const stops = [useDocuments.subscribe(soon), useRun.subscribe((now, before) => now.remaining === 0 && before.remaining > 0 && soon())]
  return () => stops.forEach((stop) => stop())
}
