/** Completing `embedding:` in a prompt. */
const BEGUN = /(?:^|[\s,(])embedding:([^\s,():]*)$/i
const MOST = 8

/** What has been typed after `embedding:` at the caret; null where nothing has. */
export function wordAt(text: string, caret: number): string | null {
  return BEGUN.exec(text.slice(0, caret))?.[1] ?? null
}

/** The names that a word may mean, those that begin with it first. */
export function fittingNames(names: readonly string[], word: string): string[] {
  const wanted = word.toLowerCase()
  const rank = (name: string): number => name.toLowerCase().indexOf(wanted)
  const fitting = names.filter((name) => rank(name) >= 0 && name !== word)
  return fitting.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b)).slice(0, MOST)
}

/** Where the typed word begins, and what to put in its place. */
export function completed(text: string, caret: number, name: string): { from: number; text: string } {
  return { from: caret - (wordAt(text, caret) ?? '').length, text: name }
}
