import { setField } from '../graph/actions'
import { useT } from '../i18n'
import { toText } from '../io/json'
import { nodeCalled, useDoc } from '../state/documents'
import { useView } from '../state/view'
import { TextArea } from '../widgets/TextArea'
import { Dialog } from './Dialog'

/** A prompt with room to write. */
export function LargeText({ onClose }: { onClose: () => void }) {
  const t = useT()
  const field = useView((view) => view.textField)
  useDoc()
  if (!field) return null
  const change = (text: string): void => setField(field.node, field.input, text)
  return (
    <Dialog title={t('field.large')} onClose={onClose}>
      <TextArea className="large-text" name={field.input} focused weighs value={toText(nodeCalled(field.node)?.values[field.input])} onChange={change} />
    </Dialog>
  )
}
