/** Names and explanations of node types in another language. Display only: files and requests keep the real names. */
import { isObject, toText, type Json } from '../io/json'
import type { Definitions } from './definitions'
import { readSentences, type Sentences } from './sentences'

interface NodeTexts {
  readonly name: string
  readonly about: string
  readonly inputs: ReadonlyMap<string, string>
  readonly outputs: ReadonlyMap<string, string>
}

export interface Translations {
  readonly nodes: ReadonlyMap<string, NodeTexts>
  readonly inputs: ReadonlyMap<string, string>
  readonly categories: ReadonlyMap<string, string>
  readonly sentences: Sentences
}

export const UNTRANSLATED: Translations = { nodes: new Map(), inputs: new Map(), categories: new Map(), sentences: [] }

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
  return { nodes, inputs, categories: texts(raw.nodeCategories), sentences: readSentences(texts(raw.sentences)) }
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
      const inputs = def.inputs.map((input) => ({ ...input, tooltip: texts.inputs.get(input.name) ?? input.tooltip }))
      const outputs = def.outputs.map((output, at) => ({ ...output, tooltip: texts.outputs.get(String(at)) ?? output.tooltip }))
      return [type, { ...def, description: texts.about || def.description, inputs, outputs }]
    }),
  )
}
