/** JSON that comes back as it was: numbers that JavaScript would change keep their text, keys keep their order. */

export class RawNumber {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text
  }
}

export type Json = null | boolean | number | string | RawNumber | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [key: string]: Json
}

export class JsonError extends Error {}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const STRING = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y
const SPACE = /[ \t\r\n]*/y

/** Reads JSON. Bare NaN and Infinity, which old images hold, are read as null. Raises JsonError. */
export function parseJson(text: string): Json {
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0

  const fail = (): never => {
    throw new JsonError(`not JSON at character ${at}`)
  }
  const space = (): void => {
    SPACE.lastIndex = at
    SPACE.test(text)
    at = SPACE.lastIndex
  }
  const string = (): string => {
    STRING.lastIndex = at
    if (!STRING.test(text)) fail()
    const start = at
    at = STRING.lastIndex
    try {
      return JSON.parse(text.slice(start, at)) as string
    } catch {
      at = start
      return fail()
    }
  }
  const number = (): Json => {
    NUMBER.lastIndex = at
    if (!NUMBER.test(text)) return fail()
    const source = text.slice(at, NUMBER.lastIndex)
    at = NUMBER.lastIndex
    const value = Number(source)
    return String(value) === source ? value : new RawNumber(source)
  }
  const word = (name: string, value: Json): Json => {
    if (!text.startsWith(name, at)) fail()
    at += name.length
    return value
  }
  const value = (): Json => {
    space()
    switch (text[at]) {
      case '{': {
        at++
        const made: Record<string, Json> = {}
        space()
        if (text[at] === '}') return (at++, made)
        for (;;) {
          space()
          const key = string()
          space()
          if (text[at] !== ':') fail()
          at++
          define(made, key, value())
          space()
          if (text[at] === ',') at++
          else if (text[at] === '}') return (at++, made)
          else fail()
        }
      }
      case '[': {
        at++
        const made: Json[] = []
        space()
        if (text[at] === ']') return (at++, made)
        for (;;) {
          made.push(value())
          space()
          if (text[at] === ',') at++
          else if (text[at] === ']') return (at++, made)
          else fail()
        }
      }
      case '"':
        return string()
      case 't':
        return word('true', true)
      case 'f':
        return word('false', false)
      case 'n':
        return word('null', null)
      case 'N':
        return word('NaN', null)
      case 'I':
        return word('Infinity', null)
      default:
        return text.startsWith('-Infinity', at) ? word('-Infinity', null) : number()
    }
  }

  const made = value()
  space()
  if (at !== text.length) fail()
  return made
}

function define(object: Record<string, Json>, key: string, value: Json): void {
  if (key === '__proto__') Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })
  else object[key] = value
}

/** Writes JSON as JSON.stringify does, numbers with their own text. */
export function writeJson(value: Json, indent = 0, depth = 0): string {
  if (value instanceof RawNumber) return value.text
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  const line = indent ? `\n${' '.repeat(indent * (depth + 1))}` : ''
  const end = indent ? `\n${' '.repeat(indent * depth)}` : ''
  if (isArray(value)) {
    if (!value.length) return '[]'
    return `[${line}${value.map((item) => writeJson(item, indent, depth + 1)).join(`,${line}`)}${end}]`
  }
  const parts: string[] = []
  for (const key of Object.keys(value)) {
    const item = value[key]
    if (item === undefined) continue
    parts.push(`${JSON.stringify(key)}:${indent ? ' ' : ''}${writeJson(item, indent, depth + 1)}`)
  }
  return parts.length ? `{${line}${parts.join(`,${line}`)}${end}}` : '{}'
}

/** Writes JSON; where it is the same as in `source`, the very text that it came in: people and programs space it as they like. */
export function writeLike(source: string, value: Json, indent: number): string {
  const made = writeJson(value, indent)
  return source && made === writeJson(parseJson(source), indent) ? source : made
}

/** How a text was indented, to write it back alike. */
export function indentOf(text: string): number {
  return /^\s*[[{]\r?\n( +)/.exec(text)?.[1]?.length ?? 0
}

export function isArray(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value)
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof RawNumber)
}

export function toNumber(value: Json | undefined, otherwise = 0): number {
  if (typeof value === 'number') return value
  if (value instanceof RawNumber) return Number(value.text)
  if (typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value))) return Number(value)
  return otherwise
}

export function toText(value: Json | undefined, otherwise = ''): string {
  return typeof value === 'string' ? value : otherwise
}

export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true
  if (a === undefined || b === undefined) return false
  return writeJson(a) === writeJson(b)
}
