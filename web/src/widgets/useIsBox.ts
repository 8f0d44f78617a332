/** Whether a prompt is read by a model that came with the program. */
import { isNegative, readsForTheBox } from '../model/world'
import { shownOf, useDocuments } from '../state/documents'

/** Whether an empty prompt is to suggest what that model can draw. */
export const useSuggests = (node: string): boolean =>
  useDocuments((state) => {
    const doc = shownOf(state.tabs.find((tab) => tab.id === state.active))?.doc
    return doc !== undefined && readsForTheBox(doc, node) && !isNegative(doc, node)
  })

export const useIsBox = (node: string): boolean =>
  useDocuments((state) => {
    const doc = shownOf(state.tabs.find((tab) => tab.id === state.active))?.doc
    return doc !== undefined && readsForTheBox(doc, node)
  })
