/** The server's sentences in another language: patterns with named places, each with its translation. */

interface Sentence {
  readonly pattern: RegExp
  readonly places: readonly string[]
  readonly words: string
  /** Of two places that only a sign stands between: the sign. Such a pattern is one only where what follows is a sentence. */
  readonly sign: string
}

/** Patterns with the most words of their own first: `{what}; most likely {why}` before `{name}: {what}`. */
export type Sentences = readonly Sentence[]

const PLACE = /\{(\w+)\}/g

/** table: English pattern -> translation; both name the same places, as `there is no folder {name}`. */
export function readSentences(table: ReadonlyMap<string, string>): Sentences {
  const own = (pattern: string): number => pattern.replace(PLACE, '').length
  return [...table].sort(([a], [b]) => own(b) - own(a)).map(([pattern, words]) => compiled(pattern, words))
}

function compiled(pattern: string, words: string): Sentence {
  const parts = pattern.split(PLACE)
  const literal = (part: string): string => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  const source = parts.map((part, at) => (at % 2 ? '([^]*?)' : literal(part))).join('')
  const sign = parts.length === 5 && !/\w/.test(`${parts[0]}${parts[2]}${parts[4]}`) ? (parts[2] ?? '') : ''
  return { pattern: new RegExp(`^${source}$`), places: parts.filter((_, at) => at % 2), words, sign }
}

const DEEPEST = 5
const MOST_SIGNS = 4

/** A sentence translated, and what fills its places too where that is a sentence itself; null for an unknown one. */
export function translated(sentences: Sentences, text: string, depth = 0): string | null {
  if (depth > DEEPEST || !text) return null
  for (const sentence of sentences) {
    if (sentence.sign) {
      const found = following(sentences, sentence, text, depth)
      if (found !== null) return found
      continue
    }
    const found = sentence.pattern.exec(text)
    if (found) return filled(sentence, found.slice(1).map((value) => translated(sentences, value, depth + 1) ?? value))
  }
  return null
}

/** `model.safetensors is empty`: a name, which may hold the sign itself, and after it a sentence that is known. */
function following(sentences: Sentences, sentence: Sentence, text: string, depth: number): string | null {
  let at = text.indexOf(sentence.sign)
  for (let tries = 0; at > 0 && tries < MOST_SIGNS; tries++, at = text.indexOf(sentence.sign, at + 1)) {
    const rest = translated(sentences.filter((other) => !other.sign || other.sign !== sentence.sign), text.slice(at + sentence.sign.length), depth + 1)
    if (rest !== null) return filled(sentence, [text.slice(0, at), rest])
  }
  return null
}

/** Words stand apart from signs of other scripts by a space, which goes where what is filled in begins or ends with words. */
const CLOSE = /([\u3400-\u9fff，。：；（）]) (?=\u0000[\u3400-\u9fff])|(?<=[\u3400-\u9fff]\u0001) (?=[\u3400-\u9fff])/g

function filled({ places, words }: Sentence, values: readonly string[]): string {
  const marked = words.replace(PLACE, (whole, place: string) => `\u0000${values[places.indexOf(place)] ?? whole}\u0001`)
  return marked.replace(CLOSE, '$1').replace(/[\u0000\u0001]/g, '')
}
