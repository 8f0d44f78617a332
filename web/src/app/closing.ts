/** Closing a workflow: what is not saved is asked about. */
import { closeTab, isUnsaved, tabOf } from '../state/documents'

let ask: ((id: string) => void) | null = null
export const onAskClose = (next: (id: string) => void): void => {
  ask = next
}

export function askClose(id: string): void {
  const tab = tabOf(id)
  if (!tab) return
  if (isUnsaved(tab) && ask) ask(id)
  else closeTab(id)
}
