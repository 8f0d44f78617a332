/** From the editor's document to what POST /prompt takes. Rules: workflow-format.md, section 7. */
import { defaultOf, type Definitions } from '../model/definitions'
import { BYPASSED, inputsOf, isNote, MUTED, modeOf, subgraphsOf, titleOf, type Document, type Link, type Node, type Subgraph } from '../model/document'
import { INPUT_NODE, known, OUTPUT_NODE } from '../model/library'
import { fits } from '../model/types'
import { isArray, isObject, toText, type Json, type JsonObject } from './json'
import { readLink, readNode } from './parts'
import { bindValues } from './widgets'

export type ApiPrompt = Record<string, { inputs: Record<string, Json>; class_type: string; _meta: { title: string } }>

const PREVIEW = '.preview'
/** The id of a node that only shows what another one gives, and whom it shows. */
export const previewIdOf = (id: string): string => id + PREVIEW
export const shownBy = (id: string): string => (id.endsWith(PREVIEW) ? id.slice(0, -PREVIEW.length) : id)

/** One level of the graph: the root, or the inside of a subgraph instance. */
interface Scope {
  readonly prefix: string
  readonly nodes: ReadonlyMap<string, Node>
  readonly links: ReadonlyMap<string, Link>
  readonly outer: { readonly scope: Scope; readonly instance: Node; readonly subgraph: Subgraph } | null
  readonly mode: number
}

type Source = { readonly kind: 'link'; readonly id: string; readonly slot: number } | { readonly kind: 'value'; readonly value: Json } | null

export function toApi(doc: Document, server: Definitions): ApiPrompt {
  const definitions = known(server, doc.file)
  const subgraphs = subgraphsOf(doc.file)
  const prompt: ApiPrompt = {}
  writeScope({ prefix: '', nodes: doc.nodes, links: doc.links, outer: null, mode: 0 }, definitions, subgraphs, prompt, 0)
  for (const entry of Object.values(prompt))
    for (const [name, value] of Object.entries(entry.inputs))
      if (isArray(value) && typeof value[0] === 'string' && !(value[0] in prompt)) delete entry.inputs[name]
  return prompt
}

function writeScope(scope: Scope, definitions: Definitions, subgraphs: ReadonlyMap<string, Subgraph>, prompt: ApiPrompt, depth: number): void {
  if (depth > 50) return
  for (const node of scope.nodes.values()) {
    const mode = scope.mode || modeOf(node)
    const inner = subgraphs.get(node.type)
    if (inner) {
      writeScope(enter(scope, node, inner, definitions), definitions, subgraphs, prompt, depth + 1)
      continue
    }
    if (mode === MUTED || mode === BYPASSED || isShell(node)) continue
    const def = definitions.get(node.type)
    const inputs: Record<string, Json> = {}
    for (const input of def?.inputs ?? []) {
      if (!input.widget) continue
      const value = node.values[input.name] ?? defaultOf(input)
      inputs[input.name] = isArray(value) ? { __value__: value } : value
    }
    for (const slot of inputsOf(node)) {
      if (slot.link === null) continue
      const link = scope.links.get(slot.link)
      const source = link ? resolve(scope, link, slot.type, definitions, subgraphs) : null
      if (source?.kind === 'link') inputs[slot.name] = [source.id, source.slot]
      else if (source?.kind === 'value') inputs[slot.widget ?? slot.name] = isArray(source.value) ? { __value__: source.value } : source.value
    }
    prompt[scope.prefix + node.id] = { inputs, class_type: node.type, _meta: { title: titleOf(node) || def?.title || node.type } }
  }
}

const isShell = (node: Node): boolean => isNote(node) || node.type === 'PrimitiveNode' || node.type === 'Reroute'

function enter(scope: Scope, instance: Node, subgraph: Subgraph, definitions: Definitions): Scope {
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
  const own = modeOf(instance)
  const mode = scope.mode || (own === MUTED || own === BYPASSED ? own : 0)
  return { prefix: `${scope.prefix}${instance.id}:`, nodes, links, outer: { scope, instance, subgraph }, mode }
}

/** Where the data of a link comes from, past bypassed nodes, reroutes and subgraph walls. */
function resolve(start: Scope, first: Link, wanted: string, definitions: Definitions, subgraphs: ReadonlyMap<string, Subgraph>): Source {
  let scope = start
  let link: Link | undefined = first
  let type = wanted
  for (let steps = 0; link && steps < 10_000; steps++) {
    if (link.from === INPUT_NODE) {
      if (!scope.outer) return null
      const { scope: outside, instance, subgraph }: NonNullable<Scope['outer']> = scope.outer
      const declared = (isArray(subgraph.raw.inputs) ? subgraph.raw.inputs : [])[link.fromSlot]
      const name = isObject(declared) ? toText(declared.name) : ''
      const outerLink: string | null | undefined = inputsOf(instance).find((slot) => slot.name === name)?.link
      if (outerLink === null || outerLink === undefined) return promoted(scope, link.fromSlot, definitions)
      scope = outside
      link = outside.links.get(outerLink)
      continue
    }
    const node: Node | undefined = scope.nodes.get(link.from)
    if (!node) return null
    const mode = scope.mode || modeOf(node)
    const inner = subgraphs.get(node.type)
    if (node.type === 'PrimitiveNode') {
      const values = node.raw.widgets_values
      return { kind: 'value', value: (node.values.value ?? (isArray(values) ? values[0] : null)) as Json }
    }
    if (node.type === 'Reroute') {
      const into = inputsOf(node)[0]?.link
      link = into === null || into === undefined ? undefined : scope.links.get(into)
    } else if (mode === BYPASSED) {
      const chosen = bypass(node, link.fromSlot, type, definitions)
      if (!chosen) return null
      type = chosen.type
      link = chosen.link === null ? undefined : scope.links.get(chosen.link)
    } else if (inner) {
      const slot = link.fromSlot
      scope = enter(scope, node, inner, definitions)
      link = [...scope.links.values()].find((each) => each.to === OUTPUT_NODE && each.toSlot === slot)
    } else return { kind: 'link', id: scope.prefix + node.id, slot: link.fromSlot }
  }
  return null
}

/** The input that a bypassed node's output goes on with. */
function bypass(node: Node, slot: number, wanted: string, definitions: Definitions): { type: string; link: string | null } | null {
  const def = definitions.get(node.type)
  const saved = inputsOf(node)
  const linkAt = (name: string): string | null => saved.find((each) => each.name === name)?.link ?? null
  const list = def
    ? [
        ...[...def.inputs.filter((input) => !input.widget), ...def.inputs.filter((input) => input.widget)].map((input) => ({ type: input.type, link: linkAt(input.name) })),
        ...saved.filter((each) => !def.inputs.some((input) => input.name === each.name)).map((each) => ({ type: each.type, link: each.link })),
      ]
    : saved.map((each) => ({ type: each.type, link: each.link }))
  const given = def?.outputs[slot]?.type ?? '*'
  if (wanted === '*') return list[slot] ?? list[0] ?? null
  const same = list[slot]
  if (same && fits(same.type, given) && fits(same.type, wanted)) return same
  return list.find((each) => each.type === wanted) ?? list.find((each) => fits(each.type, given) && fits(each.type, wanted)) ?? null
}

/** The value that a subgraph instance has for its input number `slot`, if that input stands for a field inside. */
function promoted(scope: Scope, slot: number, definitions: Definitions): Source {
  const instance = scope.outer?.instance
  const input = instance && definitions.get(instance.type)?.inputs[slot]
  const value = input?.widget ? instance?.values[input.name] : undefined
  return value === undefined ? null : { kind: 'value', value }
}

/** Whether a JSON file is in the API format. */
export function isApi(file: Json): file is JsonObject {
  return isObject(file) && Object.keys(file).length > 0 && Object.values(file).every((entry) => isObject(entry) && toText(entry.class_type) !== '')
}
