/** Packs of nodes: which there are, which wait for a word of their owner, and node types that come and go with them. */
import { create } from 'zustand'
import { api, type Decision, type Pack } from '../api/client'
import { t } from '../i18n'
import { loadDefinitions } from '../state/definitions'
import { setView, tell, useView } from '../state/view'

export const usePacks = create<{ readonly packs: readonly Pack[] }>(() => ({ packs: [] }))

/** Those that were asked about on this page: nobody is asked twice. */
const asked = new Set<string>()

export async function loadPacks(): Promise<readonly Pack[]> {
  try {
    usePacks.setState({ packs: await api.packs() })
  } catch {
    return [] // a server of another kind has none
  }
  return usePacks.getState().packs
}

/** Asks about packs that are new or have changed. */
export async function askAboutPacks(): Promise<void> {
  const waiting = (await loadPacks()).filter((pack) => (pack.standing === 'unknown' || pack.standing === 'changed') && !asked.has(`${pack.name} ${pack.standing}`))
  if (!waiting.length || useView.getState().dialog) return
  for (const pack of waiting) asked.add(`${pack.name} ${pack.standing}`)
  setView({ dialog: 'packs' })
}

/** Packs have come, gone or changed: their node types are read again, and what is new is asked about. */
export async function takeTypes(): Promise<void> {
  if (await loadDefinitions()) tell(t('say.typesChanged'))
  await askAboutPacks()
}

export async function decide(name: string, decision: Decision): Promise<void> {
  try {
    await api.decideOnPack(name, decision)
  } catch {
    tell(t('app.noServer'), 'error')
  }
  await loadPacks()
}
