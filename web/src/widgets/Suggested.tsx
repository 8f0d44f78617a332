import { useT } from '../i18n'
import { sameJson } from '../io/json'
import type { Node } from '../model/document'
import { setFields } from '../graph/actions'
import { useDocuments, usePrefix } from '../state/documents'
import { useSuggestions } from '../state/suggestions'

/** What would suit the model better than a field's value, at the first of the fields that change together; one click takes it. */
export function Suggested({ node, input }: { node: Node; input: string }) {
  const t = useT()
  const id = usePrefix() + node.id
  const tab = useDocuments((state) => state.active)
  const found = useSuggestions((state) => state[tab]?.find((each) => each.node === id && Object.keys(each.values)[0] === input))
  if (!found || Object.entries(found.values).every(([name, value]) => sameJson(node.values[name], value))) return null
  const value = Object.values(found.values).map(String).join(' × ')
  return (
    <button type="button" className="field-note nodrag" title={found.file} onClick={() => setFields(node.id, found.values)}>
      {t('field.suggested', { value, model: found.model })}
    </button>
  )
}
