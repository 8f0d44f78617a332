/** Changes the weight of the words selected in a prompt: `cat` becomes `(cat:1.05)` and back. */
export function reweigh(text: string, from: number, to: number, by: number): { text: string; from: number; to: number } {
  const held = around(text, from, to)
  if (held) {
    const weight = Math.round((held.weight + by) * 100) / 100
    const put = weight === 1 ? held.words : `(${held.words}:${weight})`
    const start = held.start + (weight === 1 ? 0 : 1)
    return { text: text.slice(0, held.start) + put + text.slice(held.end), from: start, to: start + held.words.length }
  }
  let start = from
  let end = to
  if (start === end) {
    const isWord = (letter: string | undefined): boolean => letter !== undefined && /[^\s,.()[\]{}:;|"<>\\/]/.test(letter)
    while (start > 0 && isWord(text[start - 1])) start--
    while (end < text.length && isWord(text[end])) end++
  }
  while (end > start && text[end - 1] === ' ') end--
  if (start === end) return { text, from, to }
  const words = text.slice(start, end)
  const weight = Math.round((1 + by) * 100) / 100
  return { text: `${text.slice(0, start)}(${words}:${weight})${text.slice(end)}`, from: start + 1, to: start + 1 + words.length }
}

function around(text: string, from: number, to: number): { start: number; end: number; words: string; weight: number } | null {
  const start = text.lastIndexOf('(', from)
  const match = start < 0 ? null : /^\(([^():]+):(-?\d*\.?\d+)\)/.exec(text.slice(start))
  if (!match || start + match[0].length < to) return null
  return { start, end: start + match[0].length, words: match[1] as string, weight: Number(match[2]) }
}
