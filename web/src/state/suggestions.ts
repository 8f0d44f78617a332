/** Values that would suit a workflow's model better, as the server knows: hints, which somebody takes or leaves. */
import { create } from 'zustand'
import type { Suggestion } from '../api/client'

/** By workflow. */
export const useSuggestions = create<Readonly<Record<string, readonly Suggestion[]>>>(() => ({}))

const NONE: readonly Suggestion[] = []

/** Takes in what the server suggests now. */
export function suggest(doc: string, suggestions: readonly Suggestion[]): void {
  const before = useSuggestions.getState()[doc] ?? NONE
  if (before.length || suggestions.length) useSuggestions.setState({ [doc]: suggestions })
}
