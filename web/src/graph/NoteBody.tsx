import { useT } from '../i18n'
import { isArray, toText } from '../io/json'
import type { Node } from '../model/document'
import { TextArea } from '../widgets/TextArea'
import { setNote } from './actions'

export function noteText(node: Node): string {
  const values = node.raw.widgets_values
  return toText(isArray(values) ? values[0] : undefined)
}

export function NoteBody({ node }: { node: Node }) {
  const t = useT()
  return (
    <div className="note nodrag nowheel">
      <TextArea name={t('node.note')} hint={t('node.noteHint')} value={noteText(node)} onChange={(text) => setNote(node.id, text)} />
    </div>
  )
}
