/** Several values in one field: `{"__sweep__": [2, 4], "axis": "cfg"}`, or seeds counted on, as the server reads them. */
import { isArray, isObject, RawNumber, toNumber, toText, type Json } from '../io/json'
import type { InputDef } from './definitions'

export interface Several {
  readonly values: readonly Json[]
  /** Fields of the same axis go in step; without one a field is an axis of its own. */
  readonly axis: string
}

const MOST = 1000

export function readSeveral(value: Json | undefined): Several | null {
  if (!isObject(value)) return null
  const axis = toText(value.axis)
  if (isArray(value.__sweep__)) return { values: value.__sweep__, axis }
  if (!isObject(value.__seeds__)) return null
  const { from, count } = value.__seeds__
  const first = BigInt(/^\d+$/.test(String(from)) ? String(from) : 0)
  return { values: Array.from({ length: Math.min(MOST, Math.max(0, toNumber(count))) }, (_, at) => whole(first + BigInt(at))), axis }
}

export const writeSeveral = (values: readonly Json[], axis: string): Json => ({ __sweep__: values, ...(axis ? { axis } : {}) })

const whole = (value: bigint): Json => (value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(value) : new RawNumber(String(value)))

const dividerOf = (input: InputDef): string => (input.widget === 'text' ? ' | ' : ', ')

/** The values as they are typed. */
export const textOf = ({ values }: Several, input: InputDef): string => values.map(String).join(dividerOf(input))

/** What was typed: values with commas (texts with |), ranges as `1..8` and `2..8:2`, names with `*`; null where it is no such thing. */
export function valuesOf(text: string, input: InputDef): Json[] | null {
  const parts = partsOf(text, dividerOf(input).trim()).map((part) => part.trim()).filter(Boolean)
  const found: Json[] = []
  for (const part of parts) {
    const some = valuesIn(part, input)
    if (!some || found.length + some.length > MOST) return null
    found.push(...some)
  }
  return found.length ? found : null
}

/** The text in parts; a divider within braces is one of the alternatives of a prompt. */
function partsOf(text: string, divider: string): string[] {
  const parts = ['']
  let depth = 0
  for (const letter of text) {
    depth = Math.max(0, depth + (letter === '{' ? 1 : letter === '}' ? -1 : 0))
    if (letter === divider && depth === 0) parts.push('')
    else parts[parts.length - 1] += letter
  }
  return depth ? text.split(divider) : parts // a brace that is never closed is a letter
}

function valuesIn(part: string, input: InputDef): Json[] | null {
  switch (input.widget) {
    case 'int':
    case 'float':
      return numbersIn(part, input.widget === 'int')
    case 'toggle':
      return part === 'true' || part === 'false' ? [part === 'true'] : null
    case 'combo': {
      const same = input.choices.filter((choice) => String(choice) === part)
      if (same.length) return same.slice(0, 1)
      const pattern = new RegExp(`^${part.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*')}$`, 'i')
      const fitting = part.includes('*') ? input.choices.filter((choice) => pattern.test(String(choice))) : []
      return fitting.length ? fitting : null
    }
    default:
      return [part]
  }
}

const NUMBER = String.raw`[+-]?\d+(?:\.\d+)?`
const RANGE = new RegExp(`^(${NUMBER})\\.\\.(${NUMBER})(?::(${NUMBER}))?$`)

function numbersIn(part: string, isWhole: boolean): Json[] | null {
  const range = RANGE.exec(part)
  const read = (text: string): Json | null => (isWhole ? (/^[+-]?\d+$/.test(text) ? whole(BigInt(text)) : null) : Number.isFinite(Number(text)) ? Number(text) : null)
  if (!range) {
    const one = read(part)
    return one === null ? null : [one]
  }
  const [, low = '', high = '', step = '1'] = range
  if (isWhole) {
    if (![low, high, step].every((each) => /^[+-]?\d+$/.test(each))) return null
    const [from, to, by] = [BigInt(low), BigInt(high), BigInt(step)] as const
    const count = by > 0n && to >= from ? (to - from) / by + 1n : 0n
    return count < 1n || count > BigInt(MOST) ? null : Array.from({ length: Number(count) }, (_, at) => whole(from + by * BigInt(at)))
  }
  const count = Math.floor((Number(high) - Number(low)) / Number(step) + 1e-9) + 1
  return count >= 1 && count <= MOST ? Array.from({ length: count }, (_, at) => Number((Number(low) + Number(step) * at).toFixed(10))) : null
}
