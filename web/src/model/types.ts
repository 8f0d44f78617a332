/** Socket types: names, comma lists, or a list of choices. */
import { isArray, type Json } from '../io/json'

export const ANY = '*'

/** What stands for the type of sockets that have one type, whichever it is: the first link decides. */
export const MATCH = 'COMFY_MATCHTYPE_V3'

/** A socket's type as one name; a list of choices is COMBO, and what a link decides is anything. */
export function typeName(type: Json | undefined): string {
  if (isArray(type)) return 'COMBO'
  if (typeof type === 'string') return type === MATCH ? ANY : type || ANY
  return ANY
}

/** Whether an output of type `given` may go into an input of type `wanted`. */
export function fits(given: string, wanted: string): boolean {
  if (given === ANY || wanted === ANY) return true
  const left = given.toLowerCase()
  const right = wanted.toLowerCase()
  if (left === right) return true
  if (!left.includes(',') && !right.includes(',')) return false
  const members = new Set(left.split(',').map((name) => name.trim()))
  return right.split(',').some((name) => members.has(name.trim()))
}
