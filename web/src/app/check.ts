/** What the server would refuse, asked for before anything runs: its rules, files that have gone, types that only it knows; and what would suit a model better. */
import { api } from '../api/client'
import { toApi } from '../io/api'
import { writeJson, type JsonObject } from '../io/json'
import { validate } from '../model/validate'
import { activeTab, tabOf, useDocuments } from '../state/documents'
import { foresee, forgetRefusals, useRun } from '../state/run'
import { serverDefinitions, useDefinitions } from '../state/server'
import { suggest } from '../state/suggestions'
import { readErrors } from './refusals'

const CALM_MS = 700

let asked = ''
let timer = 0

async function check(): Promise<void> {
  const tab = activeTab()
  const root = tab?.history.present
  const defs = serverDefinitions()
  if (!tab || !root?.nodes.size || !defs.size || useRun.getState().connected !== true) return
  const prompt = toApi(root, defs) as unknown as JsonObject
  const question = `${tab.id} ${writeJson(prompt)}`
  if (question === asked || !Object.keys(prompt).length) return
  asked = question
  const answer = await api.check({ prompt }).catch(() => null)
  if (!answer || tabOf(tab.id)?.history.present !== root) return
  suggest(tab.id, answer.suggestions)
  const ours = validate(root, defs)
  // who builds a graph knows that it is not finished: what is not linked yet is told when it is run
  foresee(tab.id, readErrors(answer.errors, 'required_input_missing').filter((problem) => !ours.some((each) => each.node === problem.node && (each.input === problem.input || each.code === 'unknown_type'))))
}

function soon(): void {
  clearTimeout(timer)
  timer = window.setTimeout(() => void check(), CALM_MS)
}

/** Asks whenever a workflow has changed and its author pauses. */
export function startChecking(): () => void {
  soon()
  const stopReading = useDefinitions.subscribe((now, before) => {
    if (now.given === before.given) return
    asked = ''
    forgetRefusals()
    soon()
  })
  const stops = [stopReading, useDocuments.subscribe(soon), useRun.subscribe((now, before) => now.connected !== before.connected && soon())]
  return () => stops.forEach((stop) => stop())
}
