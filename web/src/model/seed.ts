/** What changes when a workflow is queued: seeds, alternatives in prompts, dates in file names. */
import { isArray, isObject, RawNumber, sameJson, toNumber, toText, type Json, type JsonObject } from '../io/json'
import { controlOf, valueOf } from '../io/widgets'
import type { Definitions, InputDef } from './definitions'
import { linkInto, titleOf, type Document, type Node } from './document'
import { setValue } from './edit'
import { readSeveral } from './sweep'
import { defIn } from './primitive'
import { INPUT_NODE, known } from './library'
import { editEverywhere, graphOf, nodeAt, putSubgraph } from './subgraphs'
import { defFor } from './varying'

const WIDEST = 1125899906842624n

export const seedKey = (place: string, node: string, input: string): string => `${place}\u0000${node}\u0000${input}`

/** Gives every input that asks for it its next value, but only if its present one has been run with: what is shown
 *  is what a picture was made with, and what somebody typed is used once before it changes. */
export function nextSeeds(root: Document, server: Definitions, used: Seeds, random: () => number): Document {
  return editEverywhere(root, server, (doc, place) => {
    let next = doc
    for (const [node, input] of controlled(doc, known(server, root.file))) {
      const value = valueOf(node, input)
      if (readSeveral(value) || linkInto(doc, node, input.name) || String(used.get(seedKey(place, node.id, input.name))) !== String(value)) continue
      const word = wordIn(doc, node, input, server)
      if (word !== 'fixed') next = setValue(next, node.id, input.name, step(input, value, word, random))
    }
    return next
  })
}

function controlled(doc: Document, definitions: Definitions): [Node, InputDef][] {
  return [...doc.nodes.values()].flatMap((node) => (defIn(doc, node, definitions)?.inputs ?? []).filter((input) => input.control !== 'none' || input.within).map((input): [Node, InputDef] => [node, input]))
}

export type Seeds = ReadonlyMap<string, Json>

/** The values that seeds have now. */
export function seedsOf(root: Document, server: Definitions): Map<string, Json> {
  const seeds = new Map<string, Json>()
  editEverywhere(root, server, (doc, place) => {
    for (const [node, input] of controlled(doc, known(server, root.file))) seeds.set(seedKey(place, node.id, input.name), valueOf(node, input))
    return doc
  })
  return seeds
}

/** Gives seeds other values, but for those that `now` does not have any more, that come from a link, or that are to stay. */
export function putSeeds(root: Document, server: Definitions, values: Seeds, now: Seeds): Document {
  return editEverywhere(root, server, (doc, place) => {
    let next = doc
    for (const [node, input] of controlled(doc, known(server, root.file))) {
      const key = seedKey(place, node.id, input.name)
      const value = values.get(key)
      if (value === undefined || readSeveral(valueOf(node, input)) || linkInto(doc, node, input.name) || String(now.get(key)) !== String(valueOf(node, input)) || wordIn(doc, node, input, server) === 'fixed') continue
      if (!sameJson(value, valueOf(node, input))) next = setValue(next, node.id, input.name, value)
    }
    return next
  })
}

/** A seed of a run, by the server's name of its node. */
export interface RunSeed {
  readonly node: string
  readonly type: string
  readonly input: string
  readonly value: Json
}

/** The workflow with that seed, to stay; null if it has no such node. One that was let out of its subgraph is set where it is shown. */
export function fixSeed(root: Document, server: Definitions, seed: RunSeed): Document | null {
  const held = graphOf(root, seed.node, server)
  const id = seed.node.split(':').at(-1) ?? ''
  const node = held?.doc.nodes.get(id)
  if (!held || node?.type !== seed.type) return null
  const put = (made: Document): Document => (held.subgraph ? putSubgraph(root, held.subgraph, made, server) : made)
  const fixed = put(setValue(held.doc, id, controlOf(seed.input), 'fixed'))
  const link = linkInto(held.doc, node, seed.input)
  if (!link) return put(setValue(setValue(held.doc, id, seed.input, seed.value), id, controlOf(seed.input), 'fixed'))
  if (link.from !== INPUT_NODE) return null
  const outer = seed.node.split(':').slice(0, -1).join(':')
  const instance = graphOf(fixed, outer, server)?.doc.nodes.get(outer.split(':').at(-1) ?? '')
  const name = known(server, fixed.file).get(held.subgraph)?.inputs[link.fromSlot]?.name
  return instance && name !== undefined ? fixSeed(fixed, server, { node: outer, type: instance.type, input: name, value: seed.value }) : null
}

/** What happens to a value after a run: a field that was let out of a subgraph has its word inside, one for all instances. */
function wordIn(doc: Document, node: Node, input: InputDef, server: Definitions): string {
  const { within } = input
  const holder = within ? nodeAt(doc, `${node.id}:${within.node}`, server) : node
  return wordOf(holder?.values[controlOf(within?.input.name ?? input.name)])
}

export function wordOf(value: Json | undefined): string {
  if (value === true) return 'randomize'
  return toText(value, 'fixed') || 'fixed'
}

function step(input: InputDef, value: Json, word: string, random: () => number): Json {
  if ((input.within?.input ?? input).control === 'combo') {
    const count = input.choices.length
    const at = input.choices.findIndex((choice) => choice === value)
    const places: Record<string, number> = { increment: Math.min(at + 1, count - 1), 'increment-wrap': (at + 1) % count, decrement: Math.max(at - 1, 0), randomize: Math.floor(random() * count) }
    return input.choices[places[word] ?? at] ?? value
  }
  const low = big(input.options.min, 0n)
  const high = big(input.options.max, WIDEST)
  const now = big(value, 0n)
  const by = big(input.options.step, 1n)
  if (word === 'increment') return whole(clamp(now + by, low, high))
  if (word === 'decrement') return whole(clamp(now - by, low, high))
  const from = low < -WIDEST ? -WIDEST : low
  const to = high > WIDEST ? WIDEST : high
  return whole(from + BigInt(Math.floor(random() * Number(to - from))))
}

function big(value: Json | undefined, otherwise: bigint): bigint {
  const text = value instanceof RawNumber ? value.text : String(value)
  if (/^-?\d+$/.test(text)) return BigInt(text)
  const number = toNumber(value, Number.NaN)
  return Number.isFinite(number) ? BigInt(Math.round(number)) : otherwise
}

const clamp = (value: bigint, low: bigint, high: bigint): bigint => (value < low ? low : value > high ? high : value)

/** A whole number as JSON holds it: of any length. */
export function whole(value: bigint): Json {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : new RawNumber(String(value))
}

const PREFIXED = new Set(['SaveImage', 'SaveAnimatedWEBP', 'SaveAnimatedPNG', 'SaveWEBM', 'SaveAudio', 'SaveGLB', 'CLIPSave', 'VAESave', 'ModelSave', 'LoraSave', 'SaveLatent', 'SaveImageAdvanced'])

/** The document as it is sent: alternatives chosen, dates and other nodes' values put into file names. */
export function resolveTexts(root: Document, server: Definitions, random: () => number, now: Date): Document {
  const definitions = known(server, root.file)
  return editEverywhere(root, server, (doc) => {
    let next = doc
    for (const node of doc.nodes.values())
      for (const input of defFor(definitions.get(node.type), node)?.inputs ?? []) {
        const value = node.values[input.name]
        if (value === undefined || linkInto(doc, node, input.name)) continue
        const resolved = (text: Json): Json => {
          if (typeof text !== 'string') return text
          if (input.options.dynamicPrompts === true && /[{]|\/\*|\/\//.test(text)) return choose(text, random)
          return input.name === 'filename_prefix' && PREFIXED.has(node.type) && text.includes('%') ? fillPrefix(text, doc, now) : text
        }
        const several = isObject(value) && isArray(value.__sweep__) ? value.__sweep__ : null
        const made = several ? { ...(value as JsonObject), __sweep__: several.map(resolved) } : resolved(value)
        if (!sameJson(made, value)) next = setValue(next, node.id, input.name, made)
      }
    return next
  })
}

/** `{a|b}` becomes one of them, nested ones too; comments go; `\{` is a brace. */
export function choose(text: string, random: () => number): string {
  const bare = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:])\/\/.*$/gm, '$1')
  let at = 0
  const read = (inside: boolean): string => {
    const options = ['']
    const put = (piece: string): void => {
      options[options.length - 1] += piece
    }
    while (at < bare.length) {
      const letter = bare[at++] as string
      if (letter === '\\' && '{|}'.includes(bare[at] ?? ' ')) put(bare[at++] as string)
      else if (letter === '{') put(read(true))
      else if (inside && letter === '|') options.push('')
      else if (inside && letter === '}') return options[Math.floor(random() * options.length)] ?? ''
      else put(letter)
    }
    return options.join('|')
  }
  return read(false)
}

function fillPrefix(text: string, doc: Document, now: Date): string {
  return text.replace(/%([^%]+)%/g, (whole, inner: string) => {
    if (inner.startsWith('date:')) return clean(formatDate(inner.slice(5), now))
    const [name, widget] = inner.split('.')
    const node = [...doc.nodes.values()].find((each: Node) => propertyName(each) === name) ?? [...doc.nodes.values()].find((each) => titleOf(each) === name)
    const value = node && widget !== undefined ? node.values[widget] : undefined
    return value === undefined ? whole : clean(String(value))
  })
}

function propertyName(node: Node): string {
  const properties = node.raw.properties
  return typeof properties === 'object' && properties !== null && 'Node name for S&R' in properties ? String((properties as Record<string, Json>)['Node name for S&R']) : ''
}

const clean = (text: string): string => text.replace(/[/?<>\\:*|"\u0000-\u001f\u007f]/g, '_')

function formatDate(format: string, now: Date): string {
  const parts: Record<string, number> = { d: now.getDate(), M: now.getMonth() + 1, h: now.getHours(), m: now.getMinutes(), s: now.getSeconds() }
  return format.replace(/yyyy|yy|dd?|MM?|hh?|mm?|ss?/g, (token) => {
    if (token === 'yyyy') return String(now.getFullYear())
    if (token === 'yy') return String(now.getFullYear()).slice(-2)
    const value = String(parts[token[0] as string] ?? '')
    return token.length > 1 ? value.padStart(2, '0') : value
  })
}
