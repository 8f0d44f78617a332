/** Edits that programs make in files that are open here: each is one step, which names who made it and can be undone. */
import { api } from '../api/client'
import { t } from '../i18n'
import { parseJson } from '../io/json'
import { replaceDocument, useDocuments } from '../state/documents'
import { tell } from '../state/view'
import { readWorkflow } from './files'

let last: Promise<void> = Promise.resolve()

/** One after the other, in the order in which they were made. */
export function takeEdit(edit: { readonly file: string; readonly by: string; readonly modified: number }): Promise<void> {
  last = last.then(() => take(edit)).catch(() => undefined) // a file that is gone again is changed no more
  return last
}

async function take({ file, by, modified }: { readonly file: string; readonly by: string; readonly modified: number }): Promise<void> {
  const open = useDocuments.getState().tabs.filter((tab) => tab.path !== null && `workflows/${tab.path}` === file)
  if (!open.length) return
  const text = await api.readFile(file.replace(/^workflows\//, ''))
  const doc = readWorkflow(parseJson(text))
  if (!doc) return
  const name = t('say.edits', { by: by || t('say.aProgram') })
  for (const tab of open) replaceDocument(tab.id, doc, name, { stored: modified, source: text })
  tell(t('say.editedBy', { by: by || t('say.aProgram'), name: open[0]?.name ?? '' }))
}
