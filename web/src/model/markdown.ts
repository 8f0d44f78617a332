/** A small Markdown: headings, lists, quotes, code, bold, italic, links. HTML in it stays text. */
export type Span =
  | { readonly kind: 'text' | 'code'; readonly text: string }
  | { readonly kind: 'strong' | 'em'; readonly spans: readonly Span[] }
  | { readonly kind: 'link'; readonly href: string; readonly spans: readonly Span[] }

export type Block =
  | { readonly kind: 'heading'; readonly level: number; readonly spans: readonly Span[] }
  | { readonly kind: 'text' | 'quote'; readonly spans: readonly Span[] }
  | { readonly kind: 'list'; readonly ordered: boolean; readonly items: readonly (readonly Span[])[] }
  | { readonly kind: 'code'; readonly text: string }
  | { readonly kind: 'rule' }

export function readMarkdown(text: string): Block[] {
  const lines = text.replace(/\r\n?/g, '\n').split('\n')
  const blocks: Block[] = []
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] as string
    const taken = (test: RegExp): string[] => {
      const found: string[] = []
      while (at < lines.length && test.test(lines[at] as string)) found.push((lines[at++] as string).replace(test, '$1'))
      return found
    }
    const heading = /^(#{1,6})\s+(.*)$/.exec(line)
    if (/^```/.test(line)) {
      const end = lines.findIndex((each, place) => place > at && /^```/.test(each))
      const stop = end < 0 ? lines.length : end
      blocks.push({ kind: 'code', text: lines.slice(at + 1, stop).join('\n') })
      at = stop + 1
    } else if (heading) {
      blocks.push({ kind: 'heading', level: (heading[1] as string).length, spans: readSpans(heading[2] as string) })
      at++
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      blocks.push({ kind: 'rule' })
      at++
    } else if (/^\s*[-*+]\s+/.test(line)) blocks.push({ kind: 'list', ordered: false, items: taken(/^\s*[-*+]\s+(.*)$/).map(readSpans) })
    else if (/^\s*\d+[.)]\s+/.test(line)) blocks.push({ kind: 'list', ordered: true, items: taken(/^\s*\d+[.)]\s+(.*)$/).map(readSpans) })
    else if (/^>/.test(line)) blocks.push({ kind: 'quote', spans: readSpans(taken(/^>\s?(.*)$/).join('\n')) })
    else if (line.trim() === '') at++
    else blocks.push({ kind: 'text', spans: readSpans([lines[at++] as string, ...taken(/^(?!\s*$|#{1,6}\s|```|>|\s*[-*+]\s|\s*\d+[.)]\s)(.*)$/)].join('\n')) })
  }
  return blocks
}

const MARKS = /`([^`]+)`|\*\*([^*]+(?:\*[^*]+)*)\*\*|__([^_]+)__|\*([^*\s][^*]*)\*|\b_([^_]+)_\b|\[([^\]]*)\]\(([^()\s]+)\)|(https?:\/\/[^\s<>()]+)/

export function readSpans(text: string): Span[] {
  const spans: Span[] = []
  let rest = text
  for (let match = MARKS.exec(rest); match; match = MARKS.exec(rest)) {
    if (match.index) spans.push({ kind: 'text', text: rest.slice(0, match.index) })
    const [whole, code, bold, bold2, slant, slant2, words, href, bare] = match
    const strong = bold ?? bold2
    const leaning = slant ?? slant2
    if (code !== undefined) spans.push({ kind: 'code', text: code })
    else if (strong !== undefined) spans.push({ kind: 'strong', spans: readSpans(strong) })
    else if (leaning !== undefined) spans.push({ kind: 'em', spans: readSpans(leaning) })
    else if (bare !== undefined) spans.push({ kind: 'link', href: bare, spans: [{ kind: 'text', text: bare }] })
    else if (/^https?:\/\//.test(href as string)) spans.push({ kind: 'link', href: href as string, spans: readSpans(words as string) })
    else spans.push({ kind: 'text', text: whole }) // no other schemes: a note may come from anybody
    rest = rest.slice(match.index + whole.length)
  }
  if (rest) spans.push({ kind: 'text', text: rest })
  return spans
}
