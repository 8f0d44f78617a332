/** Undo and redo: a list of documents. A step is exact because nothing in a document ever changes. */
export interface Step<T> {
  readonly before: T
  readonly name: string
}

export interface History<T> {
  readonly past: readonly Step<T>[]
  readonly present: T
  readonly future: readonly { readonly after: T; readonly name: string }[]
  readonly merge: { readonly key: string; readonly at: number } | null
}

export const LIMIT = 500
export const MERGE_MS = 1000

export const begin = <T>(present: T): History<T> => ({ past: [], present, future: [], merge: null })

/** One step on. Steps of the same `key` within a second become one. */
export function commit<T>(history: History<T>, present: T, name: string, key = '', now = 0): History<T> {
  if (present === history.present) return history
  const merges = key !== '' && history.merge?.key === key && now - history.merge.at <= MERGE_MS && history.past.length > 0
  const past = merges ? history.past : [...history.past.slice(-(LIMIT - 1)), { before: history.present, name }]
  return { past, present, future: [], merge: key === '' ? null : { key, at: now } }
}

export function undo<T>(history: History<T>): History<T> {
  const last = history.past.at(-1)
  if (!last) return history
  return { past: history.past.slice(0, -1), present: last.before, future: [{ after: history.present, name: last.name }, ...history.future], merge: null }
}

export function redo<T>(history: History<T>): History<T> {
  const [next, ...future] = history.future
  if (!next) return history
  return { past: [...history.past, { before: history.present, name: next.name }], present: next.after, future, merge: null }
}

/** Changes every document of the history alike, as when node types become known. */
export function mapHistory<T>(history: History<T>, change: (value: T) => T): History<T> {
  return {
    past: history.past.map((step) => ({ ...step, before: change(step.before) })),
    present: change(history.present),
    future: history.future.map((step) => ({ ...step, after: change(step.after) })),
    merge: null,
  }
}
