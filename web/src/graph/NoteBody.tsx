import { useT } from '../i18n'
import { isArray, toText } from '../io/json'
import type { Node } from '../model/document'
import { setNote } from './actions'

export function noteText(node: Node): string {
  const values = node.raw.widgets_values
  return toText(isArray(values) ? values[0] : undefined)
}

export function NoteBody({ node }: { node: Node }) {
  const t = useT()
  return (
    <div className="note nodrag nowheel">
      <textarea aria-label={t('node.note')} placeholder={t('node.noteHint')} value={noteText(node)} tabIndex={-1} onChange={(event) => setNote(node.id, event.target.value)} />
    </div>
  )
}
