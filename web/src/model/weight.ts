interface Weighed {
  readonly text: string
  /** Where the words are now, and by how many letters they moved. */
  readonly from: number
  readonly to: number
  readonly moved: number
}

/** Changes the weight of the words selected in a prompt: `cat` becomes `(cat:1.05)` and back. */
export function reweigh(text: string, from: number, to: number, by: number): Weighed {
  const held = around(text, from, to)
  if (held) {
    const weight = Math.round((held.weight + by) * 100) / 100
    const put = weight === 1 ? held.words : `(${held.words}:${weight})`
    const start = held.start + (weight === 1 ? 0 : 1)
    return { text: text.slice(0, held.start) + put + text.slice(held.end), from: start, to: start + held.words.length, moved: start - held.start - 1 }
  }
  let start = from
  let end = to
  if (start === end) {
    const isWord = (letter: string | undefined): boolean => letter !== undefined && /[^\s,.()[\]{}:;|"<>\\/]/.test(letter)
    while (start > 0 && isWord(text[start - 1])) start--
    while (end < text.length && isWord(text[end])) end++
  }
  while (end > start && text[end - 1] === ' ') end--
  if (start === end) return { text, from, to, moved: 0 }
  const words = text.slice(start, end)
  const weight = Math.round((1 + by) * 100) / 100
  return { text: `${text.slice(0, start)}(${words}:${weight})${text.slice(end)}`, from: start + 1, to: start + 1 + words.length, moved: 1 }
}

function around(text: string, from: number, to: number): { start: number; end: number; words: string; weight: number } | null {
  const start = text.lastIndexOf('(', from)
  const match = start < 0 ? null : /^\(([^():]+):(-?\d*\.?\d+)\)/.exec(text.slice(start))
  if (!match || start + match[0].length < to) return null
  return { start, end: start + match[0].length, words: match[1] as string, weight: Number(match[2]) }
}

/** The least part of `before` that has to be replaced to have `after`: where it begins and ends, and by what. */
export function difference(before: string, after: string): readonly [number, number, string] {
  let from = 0
  while (from < before.length && before[from] === after[from]) from++
  let same = 0
  while (same < before.length - from && same < after.length - from && before[before.length - 1 - same] === after[after.length - 1 - same]) same++
  return [from, before.length - same, after.slice(from, after.length - same)]
}
