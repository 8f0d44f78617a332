/** Sends the open workflow to the server, and shows what it says. */
import { api, Refused } from '../api/client'
import { t } from '../i18n'
import { previewIdOf, toApi, type ApiPrompt } from '../io/api'
import { isObject, toText, type JsonObject } from '../io/json'
import { writeUi } from '../io/ui'
import type { Definitions } from '../model/definitions'
import { resolveTexts } from '../model/seed'
import { validate } from '../model/validate'
import { serverDefinitions } from '../state/server'
import { activeTab, newId, shownOf, tabOf } from '../state/documents'
import { clientId, own, refreshJobs, setProblems } from '../state/run'
import { queuedWith, withNextSeeds } from '../state/seeds'
import { say, setView, tell } from '../state/view'
import { readErrors, wordsOf } from './refusals'

interface Wish {
  /** Before all that wait. */
  readonly front?: boolean
  /** Only as far as this node, named as the server names it. */
  readonly to?: string
}

/** Queues the open workflow; gives whether the server took it. */
export async function runOpen(count = 1, front = false): Promise<boolean> {
  const id = activeTab()?.id
  if (!id) return false
  for (let at = 0; at < count; at++) if (!(await runOnce(id, { front }))) return false
  if (count > 1) tell(t('run.queuedMany', { count }))
  else say(t('run.queued'))
  return true
}

/** Runs what a node needs and the node, no further. Its picture, if it gives one, shows on it. */
export async function runTo(node: string | undefined): Promise<void> {
  const tab = activeTab()
  if (tab && node !== undefined && (await runOnce(tab.id, { to: `${shownOf(tab)?.prefix ?? ''}${node}` }))) say(t('run.queued'))
}

async function runOnce(id: string, wish: Wish): Promise<boolean> {
  const defs = serverDefinitions()
  const tab = tabOf(id)
  const shown = tab?.history.present
  if (!shown) return false
  const doc = withNextSeeds(id, shown, Math.random)
  const sent = resolveTexts(doc, defs, Math.random, new Date())
  const prompt = toApi(sent, defs)
  const targets = wish.to === undefined ? null : targetsOf(prompt, defs, wish.to)
  if (!Object.keys(prompt).length || targets?.length === 0) {
    tell(t(targets ? 'run.notHere' : 'run.empty'), 'error')
    return false
  }
  const name = newId() // ours, not the server's: a short run has ended before the answer to its request comes
  const body: JsonObject = {
    prompt_id: name,
    client_id: clientId,
    prompt: prompt as unknown as JsonObject,
    extra_data: { extra_pnginfo: { workflow: writeUi(sent, defs) }, workflow_name: tab.name },
    ...(wish.front ? { front: true } : {}),
    ...(targets ? { partial_execution_targets: targets } : {}),
  }
  const forget = queuedWith(name, id, shown, doc)
  try {
    own(name, id)
    setProblems(id, [])
    const left = readErrors(await api.queue(body))
    if (left.length) setProblems(id, left)
    void refreshJobs()
    return true
  } catch (error) {
    forget()
    refused(id, error)
    return false
  }
}

/** What has to run to run as far as a node; a node that gives a picture gets somebody to show it. */
function targetsOf(prompt: ApiPrompt, definitions: Definitions, id: string): string[] {
  const inside = Object.keys(prompt).filter((key) => key.startsWith(`${id}:`))
  const entry = prompt[id]
  if (!entry) return inside
  const def = definitions.get(entry.class_type)
  const slot = def?.outputs.findIndex((output) => output.type === 'IMAGE') ?? -1
  if (def?.isTerminal || slot < 0 || !definitions.has('PreviewImage')) return [id]
  const preview = previewIdOf(id)
  prompt[preview] = { class_type: 'PreviewImage', inputs: { images: [id, slot] }, _meta: { title: entry._meta.title } }
  return [preview]
}

function refused(id: string, error: unknown): void {
  const body = error instanceof Refused && isObject(error.body) ? error.body : null
  const errors = body && isObject(body.node_errors) ? body.node_errors : {}
  const doc = tabOf(id)?.history.present
  const ours = doc ? validate(doc, serverDefinitions()) : []
  const theirs = readErrors(errors).map((problem) => ours.find((each) => each.node === problem.node && each.input === problem.input) ?? problem)
  if (theirs.length) {
    setProblems(id, theirs)
    tell(theirs.length === 1 ? t('run.refusedOne') : t('run.refused', { count: theirs.length }), 'error')
    setView({ panel: 'problems' })
    return
  }
  const type = body && isObject(body.error) ? toText(body.error.type) : ''
  if (ours.length) setProblems(id, ours)
  tell(type === 'prompt_no_outputs' ? t('run.empty') : wordsOf(error), 'error')
}
