import { isObject, RawNumber, toNumber, type Json } from '../io/json'

const SIDES = ['x', 'y', 'width', 'height'] as const

/** A rectangle as four numbers with commas; any other value as it is. */
export function boxText(value: Json): string {
  if (isObject(value)) return SIDES.map((side) => String(toNumber(value[side]))).join(', ')
  return value === null ? '' : value instanceof RawNumber ? value.text : String(value)
}

/** The rectangle that four numbers say; what is no rectangle yet stays the text that it is. */
export function readBox(text: string): Json {
  const found = /^\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)$/.exec(text)
  return found ? Object.fromEntries(SIDES.map((side, at) => [side, Number(found[at + 1])])) : text
}
