/** What the server refuses, in the user's own words. */
import { Refused } from '../api/client'
import { t, type TextKey } from '../i18n'
import { isArray, isObject, toText, type Json, type JsonObject } from '../io/json'
import type { Problem, ProblemCode } from '../model/validate'

const BY_STATUS: Readonly<Record<number, TextKey>> = { 401: 'refused.access', 403: 'refused.access', 404: 'refused.gone', 409: 'refused.taken', 413: 'refused.large', 415: 'refused.kind', 429: 'refused.busy', 503: 'refused.busy', 507: 'refused.full' }

/** Why something that was asked of the server did not happen. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Refused)) return t('app.noServer')
  const key = BY_STATUS[error.status]
  return key ? t(key) : t(error.status >= 500 ? 'refused.fault' : 'refused.other', { status: error.status })
}

const CODES: Readonly<Record<string, ProblemCode>> = {
  missing_node_type: 'unknown_type',
  required_input_missing: 'missing_link',
  value_not_in_list: 'not_in_list',
  value_smaller_than_min: 'too_small',
  value_bigger_than_max: 'too_big',
  return_type_mismatch: 'wrong_type',
  linked_node_missing: 'link_gone',
  linked_slot_missing: 'link_gone',
  invalid_input_type: 'wrong_kind',
  unchecked_picture: 'unchecked',
  file_unreadable: 'unreadable',
  invalid_sweep: 'bad_sweep',
}

/** The server's node_errors, each at its input; but for those of one type. */
export function readErrors(errors: JsonObject, besides = ''): Problem[] {
  const problems: Problem[] = []
  for (const [node, entry] of Object.entries(errors)) {
    if (!isObject(entry)) continue
    for (const error of isArray(entry.errors) ? entry.errors : []) {
      if (!isObject(error) || error.type === besides) continue
      const info: Json = error.extra_info ?? null
      const details = toText(error.details)
      const input = (isObject(info) ? toText(info.input_name) : '') || (toText(error.type) === 'required_input_missing' ? details : '')
      problems.push({ node, input, code: CODES[toText(error.type)] ?? 'server', params: paramsOf(error, isObject(info) ? info : {}, input, toText(entry.class_type)), said: true })
    }
  }
  return problems
}

/** `steps: got 0`, said at the input `steps`. */
const withoutName = (details: string, input: string): string => (input && details.startsWith(`${input}: `) ? details.slice(input.length + 2) : details)

function paramsOf(error: JsonObject, info: JsonObject, input: string, type: string): Record<string, string> {
  const [wanted, options] = isArray(info.input_config) ? info.input_config : []
  const isLow = error.type === 'value_smaller_than_min'
  const limit = isObject(options) ? options[isLow ? 'min' : 'max'] : undefined
  return {
    input,
    message: withoutName(toText(error.details), input) || toText(error.message),
    value: info.received_value === undefined ? '' : String(info.received_value),
    limit: limit === undefined ? '' : String(limit),
    given: toText(info.received_type),
    type: error.type === 'missing_node_type' ? type : isArray(wanted) ? 'COMBO' : toText(wanted),
  }
}
