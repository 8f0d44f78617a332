import { useState } from 'react'
import { useT } from '../i18n'
import { isArray, toText } from '../io/json'
import type { Node } from '../model/document'
import { TextArea } from '../widgets/TextArea'
import { setNote } from './actions'
import { Markdown } from './Markdown'

export function noteText(node: Node): string {
  const values = node.raw.widgets_values
  return toText(isArray(values) ? values[0] : undefined)
}

/** A note's words; Markdown is shown as it is meant until somebody writes in it. */
export function NoteBody({ node }: { node: Node }) {
  const t = useT()
  const [writing, setWriting] = useState(false)
  const text = noteText(node)
  if (node.type === 'MarkdownNote' && text && !writing)
    return (
      <div className="note nodrag nowheel" title={t('note.edit')} onDoubleClick={() => setWriting(true)}>
        <Markdown text={text} />
      </div>
    )
  return (
    <div className="note nodrag nowheel" onBlur={() => setWriting(false)}>
      <TextArea name={t('node.note')} hint={t('node.noteHint')} value={text} focused={writing} onChange={(next) => setNote(node.id, next)} />
    </div>
  )
}
