import type { ReactNode } from 'react'
import { readMarkdown, type Block, type Span } from '../model/markdown'

export function Markdown({ text }: { text: string }) {
  return <div className="markdown">{readMarkdown(text).map((block, at) => <BlockView key={at} block={block} />)}</div>
}

function BlockView({ block }: { block: Block }) {
  switch (block.kind) {
    case 'heading':
      return <p className={`heading h${Math.min(block.level, 3)}`} role="heading" aria-level={block.level}>{inline(block.spans)}</p>
    case 'quote':
      return <blockquote>{inline(block.spans)}</blockquote>
    case 'list': {
      const List = block.ordered ? 'ol' : 'ul'
      return <List>{block.items.map((item, at) => <li key={at}>{inline(item)}</li>)}</List>
    }
    case 'code':
      return <pre>{block.text}</pre>
    case 'rule':
      return <hr />
    case 'text':
      return <p>{inline(block.spans)}</p>
  }
}

const inline = (spans: readonly Span[]): ReactNode[] =>
  spans.map((span, at) => {
    switch (span.kind) {
      case 'strong':
        return <strong key={at}>{inline(span.spans)}</strong>
      case 'em':
        return <em key={at}>{inline(span.spans)}</em>
      case 'code':
        return <code key={at}>{span.text}</code>
      case 'link':
        return <a key={at} href={span.href} target="_blank" rel="noreferrer noopener">{inline(span.spans)}</a>
      default:
        return span.text
    }
  })
