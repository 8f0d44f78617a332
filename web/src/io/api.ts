/** From the editor's document to what POST /prompt takes. The server converts files itself, by the same rules (`graph/flatten.py`). */
import { defaultOf, inputOf, type Definitions, type InputDef } from '../model/definitions'
import { BYPASSED, inputsOf, isNote, MUTED, modeOf, outputsOf, subgraphsOf, titleOf, type Document, type Link, type Node, type Slot, type Subgraph } from '../model/document'
import { INPUT_NODE, known, OUTPUT_NODE } from '../model/library'
import { fits } from '../model/types'
import { activeInputs } from '../model/varying'
import { isArray, isObject, sameJson, toText, type Json, type JsonObject } from './json'
import { readLink, readNode } from './parts'
import { guessedValues } from './unknown'
import { bindValues, valueOf } from './widgets'

export type ApiPrompt = Record<string, { inputs: Record<string, Json>; class_type: string; _meta: { title: string } }>

const PREVIEW = '.preview'
/** The id of a node that only shows what another one gives, and whom it shows. */
export const previewIdOf = (id: string): string => id + PREVIEW
export const shownBy = (id: string): string => (id.endsWith(PREVIEW) ? id.slice(0, -PREVIEW.length) : id)

/** Nodes of a widely used pack: what goes into a SetNode comes out of it, and of each GetNode of the same name. */
const SET_NODE = 'SetNode'
const GET_NODE = 'GetNode'
/** Nodes of packs that pass on what comes into their first input, and are never sent. */
const PASSING: ReadonlySet<string> = new Set([SET_NODE, 'Reroute (rgthree)'])
const DEEPEST = 50

/** One level of the graph: the root, or the inside of a subgraph instance. `mode` is that of the instances around it. */
interface Scope {
  readonly prefix: string
  readonly nodes: ReadonlyMap<string, Node>
  readonly links: ReadonlyMap<string, Link>
  readonly outer: { readonly scope: Scope; readonly instance: Node; readonly subgraph: Subgraph } | null
  readonly mode: number
  readonly depth: number
  readonly entered: Map<string, Scope>
  readonly found: Map<string, Source>
}

interface World {
  readonly definitions: Definitions
  readonly subgraphs: ReadonlyMap<string, Subgraph>
}

/** Where a search has got to: a link to follow back, and the type that is wanted. */
interface Step {
  readonly scope: Scope
  readonly link: string
  readonly type: string
}

/** How a search ends: at an output, at a value, at an input that is open outside, or nowhere. */
type Source = { readonly id: string; readonly slot: number } | { readonly value: Json } | 'open' | 'lost'
const isStep = (found: Step | Source): found is Step => typeof found === 'object' && 'scope' in found

export function toApi(doc: Document, server: Definitions): ApiPrompt {
  const world = { definitions: known(server, doc.file), subgraphs: subgraphsOf(doc.file) }
  const prompt: ApiPrompt = {}
  writeScope({ prefix: '', nodes: doc.nodes, links: doc.links, outer: null, mode: 0, depth: 0, entered: new Map(), found: new Map() }, world, prompt)
  return prompt
}

function writeScope(scope: Scope, world: World, prompt: ApiPrompt): void {
  if (scope.depth > DEEPEST) return
  const givers = new Set([...scope.links.values()].map((link) => link.from))
  for (const node of scope.nodes.values()) {
    const inner = world.subgraphs.get(node.type)
    const mode = scope.mode || modeOf(node)
    if (inner) writeScope(enter(scope, node, inner, world), world, prompt)
    else if (mode !== MUTED && mode !== BYPASSED && isSent(node, world, givers)) prompt[scope.prefix + node.id] = entryOf(scope, node, world)
  }
}

/** Whether a node is more than a thing of the canvas. Of unknown types only what is joined to others can be. */
function isSent(node: Node, { definitions }: World, givers: ReadonlySet<string>): boolean {
  if (isNote(node) || node.type === 'PrimitiveNode' || node.type === 'Reroute') return false
  if (definitions.has(node.type)) return true
  return !PASSING.has(node.type) && node.type !== GET_NODE && (givers.has(node.id) || inputsOf(node).some((slot) => slot.link !== null))
}

function entryOf(scope: Scope, node: Node, world: World): ApiPrompt[string] {
  const def = world.definitions.get(node.type)
  const inputs: Record<string, Json> = {}
  const put = (name: string, value: Json): unknown => (inputs[name] = isArray(value) ? { __value__: value } : value)
  if (def) for (const input of activeInputs(def.inputs, node.values)) input.widget && put(input.name, local(input, valueOf(node, input)))
  else for (const [name, value] of Object.entries(guessedValues(node))) put(name, value)
  for (const slot of linked(scope, node)) {
    if (slot.link === null || !scope.links.has(slot.link)) continue
    const source = sourceOf({ scope, link: slot.link, type: slot.type }, world)
    if (typeof source !== 'object') continue
    if ('value' in source) put(slot.widget ?? slot.name, source.value)
    else inputs[slot.name] = [source.id, source.slot]
  }
  return { inputs, class_type: def?.type ?? node.type, _meta: { title: titleOf(node) || def?.title || node.type } }
}

/** A node's sockets; one whose link is gone has the link that says that it ends there. */
function linked(scope: Scope, node: Node): Slot[] {
  const ending = (at: number): string | undefined => [...scope.links.values()].findLast((link) => link.to === node.id && link.toSlot === at)?.id
  return inputsOf(node).map((slot, at) => (slot.link === null || scope.links.has(slot.link) ? slot : { ...slot, link: ending(at) ?? slot.link }))
}

/** The value with `/` between folders, if that is how the choice is called here; files have Windows' `\` too. */
function local(input: InputDef, value: Json): Json {
  if (typeof value !== 'string' || !value.includes('\\') || input.choices.includes(value)) return value
  const there = value.replaceAll('\\', '/')
  return input.choices.includes(there) ? there : value
}

function enter(scope: Scope, instance: Node, subgraph: Subgraph, { definitions }: World): Scope {
  const before = scope.entered.get(instance.id)
  if (before) return before
  const nodes = new Map<string, Node>()
  for (const raw of isArray(subgraph.raw.nodes) ? subgraph.raw.nodes : []) {
    if (!isObject(raw)) continue
    const node = readNode(raw)
    nodes.set(node.id, bindValues(node, definitions.get(node.type)))
  }
  const links = new Map<string, Link>()
  for (const raw of isArray(subgraph.raw.links) ? subgraph.raw.links : []) {
    const link = readLink(raw)
    if (link) links.set(link.id, link)
  }
  const own = scope.mode || modeOf(instance)
  const mode = own === MUTED || own === BYPASSED ? own : 0
  const inside: Scope = { prefix: `${scope.prefix}${instance.id}:`, nodes, links, outer: { scope, instance, subgraph }, mode, depth: scope.depth + 1, entered: new Map(), found: new Map() }
  scope.entered.set(instance.id, inside)
  return inside
}

/** Where the data of a link comes from, past bypassed nodes, reroutes and the walls of subgraphs. A search that ends at an
 *  open input takes the value of the innermost instance on its way back that has one. */
function sourceOf(start: Step, world: World): Source {
  const way: { readonly step: Step; readonly own: Json | undefined }[] = []
  const keyOf = (step: Step): string => `${step.link}\u0000${step.type}`
  let going: Step | Source = start
  while (isStep(going)) {
    const step: Step = going
    const before = step.scope.found.get(keyOf(step))
    if (before !== undefined) going = before
    else {
      step.scope.found.set(keyOf(step), 'lost') // a circle has no source
      const { next, own } = follow(step, world)
      way.push({ step, own })
      going = next
    }
  }
  let found: Source = going
  for (const { step, own } of way.reverse()) {
    if (found === 'open' && own !== undefined && own !== null) found = { value: own }
    step.scope.found.set(keyOf(step), found)
  }
  return found
}

/** One step back: another step, or how the search ends; and the value that an instance which was left has for the input. */
function follow({ scope, link: id, type }: Step, world: World): { readonly next: Step | Source; readonly own?: Json | undefined } {
  const link = scope.links.get(id)
  if (link?.from === INPUT_NODE && scope.outer) return leave(scope.outer, link, type, world)
  const node = link && scope.nodes.get(link.from)
  if (!link || !node || isNote(node)) return { next: 'lost' }
  if (node.type === 'PrimitiveNode') return { next: primitive(scope, node, world) }
  const mode = scope.mode || modeOf(node)
  if (mode === MUTED) return { next: 'lost' }
  const isUnknown = !world.definitions.has(node.type)
  if (node.type === 'Reroute' || (isUnknown && PASSING.has(node.type))) return { next: stepTo(scope, linked(scope, node)[0]?.link, type) }
  if (isUnknown && node.type === GET_NODE) return { next: namedElsewhere(scope, node, type) }
  if (mode === BYPASSED) return { next: bypass(scope, node, link.fromSlot, type, world) }
  const inner = world.subgraphs.get(node.type)
  if (!inner) return { next: { id: scope.prefix + node.id, slot: link.fromSlot } }
  if (scope.depth >= DEEPEST) return { next: 'lost' }
  const inside = enter(scope, node, inner, world)
  return { next: stepTo(inside, [...inside.links.values()].find((each) => each.to === OUTPUT_NODE && each.toSlot === link.fromSlot)?.id, type) }
}

const stepTo = (scope: Scope, link: string | null | undefined, type: string): Step | Source => (link === null || link === undefined ? 'lost' : { scope, link, type })

/** Through an input of a subgraph to what its instance has there. */
function leave({ scope, instance, subgraph }: NonNullable<Scope['outer']>, link: Link, type: string, { definitions }: World): { readonly next: Step | Source; readonly own: Json | undefined } {
  const declared = (isArray(subgraph.raw.inputs) ? subgraph.raw.inputs : [])[link.fromSlot]
  const name = isObject(declared) ? toText(declared.name) : ''
  const own = inputOf(definitions.get(instance.type), name)?.widget ? instance.values[name] : undefined
  const into = linked(scope, instance).find((slot) => slot.name === name)?.link ?? null
  return { next: into === null ? 'open' : { scope, link: into, type }, own }
}

/** What a primitive holds; one that was never given a value holds that of the first field it feeds. */
function primitive(scope: Scope, node: Node, { definitions }: World): Source {
  const list = node.raw.widgets_values
  if (node.values.value !== undefined) return { value: node.values.value }
  if (isArray(list) && list.length) return { value: list[0] as Json }
  for (const link of scope.links.values()) {
    const target = link.from === node.id ? scope.nodes.get(link.to) : undefined
    const input = target && inputOf(definitions.get(target.type), inputsOf(target)[link.toSlot]?.name ?? '')
    if (target && input?.widget) return { value: target.values[input.name] ?? defaultOf(input) }
  }
  return 'lost'
}

/** What goes into the SetNode of the same name, here or around here. */
function namedElsewhere(scope: Scope, node: Node, type: string): Step | Source {
  const nameOf = (each: Node): Json | undefined => (isArray(each.raw.widgets_values) ? each.raw.widgets_values[0] : undefined)
  for (let at: Scope | undefined = scope; at; at = at.outer?.scope)
    for (const each of at.nodes.values()) if (each.type === SET_NODE && inputsOf(each).length && sameJson(nameOf(each), nameOf(node))) return stepTo(at, linked(at, each)[0]?.link, type)
  return 'lost'
}

/** The input that a bypassed node's output goes on with. */
function bypass(scope: Scope, node: Node, slot: number, wanted: string, { definitions }: World): Step | Source {
  const def = definitions.get(node.type)
  const saved = linked(scope, node)
  const inputs = def ? activeInputs(def.inputs, node.values) : []
  const shown = [...inputs.filter((input) => !input.widget), ...inputs.filter((input) => input.widget)].map((input) => ({ type: input.type, link: saved.find((each) => each.name === input.name)?.link ?? null }))
  const list = [...shown, ...saved.filter((each) => !inputs.some((input) => input.name === each.name)).map((each) => ({ type: each.type, link: each.link }))]
  const given = (def ? def.outputs : outputsOf(node))[slot]?.type ?? '*'
  const same = list[slot]
  const chosen =
    wanted === '*'
      ? (same ?? list[0])
      : same && fits(same.type, given) && fits(same.type, wanted)
        ? same
        : (list.find((each) => each.type === wanted) ?? list.find((each) => fits(each.type, given) && fits(each.type, wanted)))
  return chosen ? stepTo(scope, chosen.link, chosen.type) : 'lost'
}

/** Whether a JSON file is in the API format. */
export function isApi(file: Json): file is JsonObject {
  return isObject(file) && Object.keys(file).length > 0 && Object.values(file).every((entry) => isObject(entry) && toText(entry.class_type) !== '')
}
