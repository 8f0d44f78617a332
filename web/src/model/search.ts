/** Finding a node type: by its names in both languages, class, category, pack, and by what goes in and out. */
import type { Definitions, NodeDef } from './definitions'
import { fits } from './types'

export interface Filter {
  /** Only types with an input that takes this, or an output that gives this. */
  readonly takes?: string
  readonly gives?: string
}

export interface Hit {
  readonly def: NodeDef
  readonly score: number
}

export function searchNodes(definitions: Definitions, query: string, filter: Filter, otherName: (def: NodeDef) => string, recent: readonly string[] = []): Hit[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean)
  const hits: Hit[] = []
  for (const [type, def] of definitions) {
    if (type !== def.type) continue // an older name of it
    const taken = def.inputs.map((input) => input.members?.each ?? input)
    if (filter.takes !== undefined && !taken.some((input) => fits(filter.takes as string, input.type) && !(input.widget && filter.takes === '*'))) continue
    if (filter.gives !== undefined && !def.outputs.some((output) => fits(output.type, filter.gives as string))) continue
    let score = def.isDeprecated ? -20 : 0
    const exact = filter.takes !== undefined ? taken.some((input) => input.type === filter.takes && !input.optional) : false
    if (exact) score += 5
    const place = recent.indexOf(def.type)
    if (place >= 0) score += 8 - Math.min(place, 7)
    let matches = true
    for (const word of words) {
      const value = scoreWord(def, word, otherName(def))
      if (value === 0) matches = false
      score += value
    }
    if (matches) hits.push({ def, score })
  }
  return hits.sort((a, b) => b.score - a.score || a.def.title.length - b.def.title.length || a.def.title.localeCompare(b.def.title))
}

function scoreWord(def: NodeDef, word: string, other: string): number {
  const named = /^(in|out|pack):(.+)$/.exec(word)
  if (named) {
    const wanted = named[2] as string
    if (named[1] === 'in') return def.inputs.some((input) => (input.members?.each ?? input).type.toLowerCase().startsWith(wanted)) ? 10 : 0
    if (named[1] === 'out') return def.outputs.some((output) => output.type.toLowerCase().startsWith(wanted)) ? 10 : 0
    return def.pack.toLowerCase().includes(wanted) ? 10 : 0
  }
  return Math.max(
    scoreTitle(def.title, word),
    scoreTitle(other, word),
    scoreText(def.type, word, 90),
    scoreText(def.category, word, 30),
    def.outputs.some((output) => output.type.toLowerCase() === word) ? 40 : 0,
    def.description.toLowerCase().includes(word) ? 10 : 0,
  )
}

/** As it is written, or in one word: `savei` is Save Image. */
function scoreTitle(title: string, word: string): number {
  return Math.max(scoreText(title, word, 100), scoreText(title.replaceAll(' ', ''), word, 100))
}

function scoreText(text: string, word: string, worth: number): number {
  const lower = text.toLowerCase()
  if (lower === word) return worth
  if (lower.startsWith(word)) return worth * 0.9
  const at = lower.indexOf(word)
  if (at > 0) return worth * (/[^a-z0-9]/.test(lower[at - 1] as string) || /[A-Z]/.test(text[at] as string) ? 0.8 : 0.5)
  const initials = text.replace(/[^A-Za-z ]/g, '').split(/ |(?=[A-Z][a-z])/).map((part) => part[0]?.toLowerCase() ?? '').join('')
  if (word.length > 1 && initials.startsWith(word)) return worth * 0.6
  return word.length > 2 && isSubsequence(word, lower) ? worth * 0.2 : 0
}

function isSubsequence(word: string, text: string): boolean {
  let at = 0
  for (const letter of text) if (letter === word[at]) at++
  return at === word.length
}
