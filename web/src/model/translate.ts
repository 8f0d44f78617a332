/** Names and explanations of node types in another language. Display only: files and requests keep the real names. */
import { isObject, toText, type Json } from '../io/json'
import type { Definitions, InputDef } from './definitions'
import { readSentences, type Sentences } from './sentences'

interface NodeTexts {
  readonly name: string
  readonly about: string
  readonly inputs: ReadonlyMap<string, string>
  readonly outputs: ReadonlyMap<string, string>
}

export interface Translations {
  readonly nodes: ReadonlyMap<string, NodeTexts>
  /** By name; those that a choice brings, and the members of a group, as `holder.input`. */
  readonly inputs: ReadonlyMap<string, string>
  readonly outputs: ReadonlyMap<string, string>
  readonly categories: ReadonlyMap<string, string>
  readonly sentences: Sentences
}

export const UNTRANSLATED: Translations = { nodes: new Map(), inputs: new Map(), outputs: new Map(), categories: new Map(), sentences: [] }

/** One language of the server's answer. */
export function readTranslations(raw: Json | undefined): Translations {
  if (!isObject(raw)) return UNTRANSLATED
  const nodes = new Map<string, NodeTexts>()
  const inputs = new Map<string, string>()
  for (const [type, node] of Object.entries(isObject(raw.nodeDefs) ? raw.nodeDefs : {})) {
    if (!isObject(node)) continue
    for (const [input, entry] of Object.entries(isObject(node.inputs) ? node.inputs : {})) if (isObject(entry) && entry.name) inputs.set(input, toText(entry.name))
    nodes.set(type, { name: toText(node.display_name), about: toText(node.description), inputs: tooltips(node.inputs), outputs: tooltips(node.outputs) })
  }
  return { nodes, inputs, outputs: texts(raw.outputs), categories: texts(raw.nodeCategories), sentences: readSentences(texts(raw.sentences)) }
}

const texts = (raw: Json | undefined): Map<string, string> => new Map(Object.entries(isObject(raw) ? raw : {}).map(([name, text]) => [name, toText(text)]))

function tooltips(raw: Json | undefined): Map<string, string> {
  const entries = Object.entries(isObject(raw) ? raw : {})
  return new Map(entries.flatMap(([name, entry]) => (isObject(entry) && entry.tooltip ? [[name, toText(entry.tooltip)] as const] : [])))
}

/** The definitions with their explanations in that language. Names stay: they are written into files. */
export function explained(definitions: Definitions, translations: Translations): Definitions {
  return new Map(
    [...definitions].map(([type, def]) => {
      const texts = translations.nodes.get(def.type)
      if (!texts) return [type, def]
      const inputs = def.inputs.map((input) => explainedInput(input, texts.inputs))
      const outputs = def.outputs.map((output, at) => ({ ...output, tooltip: texts.outputs.get(String(at)) ?? output.tooltip }))
      return [type, { ...def, description: texts.about || def.description, inputs, outputs }]
    }),
  )
}

function explainedInput(input: InputDef, tooltips: ReadonlyMap<string, string>): InputDef {
  const { branches, members } = input
  return {
    ...input,
    tooltip: tooltips.get(input.name) ?? input.tooltip,
    ...(branches ? { branches: new Map([...branches].map(([key, inputs]) => [key, inputs.map((each) => explainedInput(each, tooltips))])) } : {}),
    ...(members ? { members: { ...members, each: { ...members.each, tooltip: tooltips.get(`${input.name}.${members.each.name}`) ?? members.each.tooltip } } } : {}),
  }
}

export const spaced = (identifier: string): string => identifier.replace(/(?<=\w)_(?=\w)/g, ' ').replace(/(?<=\w)_$/, '')

/** What stands behind the name of a choice or a group, which is seen where it stands. */
const ownPart = (name: string): string => (/^[a-z_]\w*(\.[a-z_]\w*)+$/i.test(name) ? name.slice(name.lastIndexOf('.') + 1) : name)

/** An input in words: of what a choice brings, its own name; of a member of a group, its number too. */
export function inputWords({ inputs }: Translations, name: string): string {
  const found = inputs.get(name)
  if (found !== undefined) return found
  const [, member, number] = /^([a-z_]\w*\.[a-z_]*?)(\d+)$/i.exec(name) ?? []
  return member === undefined ? spaced(ownPart(name)) : `${inputs.get(member) ?? spaced(ownPart(member))} ${number}`
}
