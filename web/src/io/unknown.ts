/** The values of a node whose type nobody knows: what its file says about them. */
import { inputsOf, type Node } from '../model/document'
import { isArray, isObject, toNumber, type Json } from './json'

const WORDS = new Set(['fixed', 'increment', 'decrement', 'randomize', 'increment-wrap'])
const NO_INPUT = /^(control_after_generate|control_filter_list|upload|audioUI)(#\d+)?$/

/** By the names of their inputs; none where the file does not name all of them. */
export function guessedValues(node: Node): Record<string, Json> {
  if (node.layout !== null) return { ...node.values }
  const { widgets_values: list, widgets_values_named: named } = node.raw
  if (isObject(list)) return { ...list }
  if (isObject(named) && Object.keys(named).length) return Object.fromEntries(Object.entries(named).filter(([name]) => !NO_INPUT.test(name)))
  const given = isArray(list) ? list : []
  const names = inputsOf(node).flatMap((slot) => slot.widget || [])
  const values: Record<string, Json> = {}
  let place = 0
  for (const name of names) {
    if (place >= given.length) break
    values[name] = given[place++] as Json
    if (place < given.length && given.length > names.length && isWord(given[place], given[place - 1])) place++
  }
  return place === given.length && Object.keys(values).length === names.length ? values : {}
}

/** Whether an entry is the control word of the number before it. */
function isWord(value: Json | undefined, before: Json | undefined): boolean {
  return typeof value === 'string' && WORDS.has(value) && typeof before !== 'boolean' && Number.isFinite(toNumber(before, Number.NaN))
}
