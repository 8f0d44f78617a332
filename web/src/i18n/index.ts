/** Texts in the user's language. */
import { BUILTIN } from '../model/builtin'
import { nameOf } from '../model/connect'
import type { Definitions, NodeDef } from '../model/definitions'
import { titleOf, type Document, type Node } from '../model/document'
import { translated } from '../model/sentences'
import { inputWords, spaced, type Translations } from '../model/translate'
import type { Problem } from '../model/validate'
import { useDefinitions } from '../state/server'
import { useSettings, type Language } from '../state/settings'
import { en, type TextKey } from './en'
import { zh } from './zh'

export type { TextKey }
export type Params = Readonly<Record<string, string | number>>

const TABLES: Readonly<Record<Language, Readonly<Record<TextKey, string>>>> = { en, zh }

export function textIn(language: Language, key: TextKey, params: Params = {}): string {
  return TABLES[language][key].replace(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole))
}

export const t = (key: TextKey, params?: Params): string => textIn(useSettings.getState().language, key, params)

/** The text function of the present language; the component is drawn again when it changes. */
export function useT(): (key: TextKey, params?: Params) => string {
  const language = useSettings((state) => state.language)
  return (key, params) => textIn(language, key, params)
}

const isChinese = (): boolean => useSettings.getState().language === 'zh'

const chinese = (): Translations => useDefinitions.getState().chinese

const builtinText = (type: string, about = ''): string => t(`builtin.${type}${about}` as TextKey)

export const nodeName = (def: NodeDef): string => (BUILTIN.has(def.type) ? builtinText(def.type) : isChinese() ? chinese().nodes.get(def.type)?.name || def.title : def.title)
export const aboutNode = (def: NodeDef): string => (BUILTIN.has(def.type) ? builtinText(def.type, '.about') : def.description)
/** What a node of the graph is called: its title, or the name of its type. */
export const nameShown = (node: Node, doc: Document, definitions: Definitions): string => {
  const def = definitions.get(node.type) ?? BUILTIN.get(node.type)
  return titleOf(node) || (def ? nodeName(def) : nameOf(node, doc, definitions))
}
/** What else search finds it by, whatever language is shown. */
export const otherName = (def: NodeDef): string => chinese().nodes.get(def.type)?.name ?? ''
const words = (): Translations => (isChinese() ? chinese() : useDefinitions.getState().english)
/** An input in words; its identifier is shown where somebody points at it. */
export const inputName = (name: string): string => inputWords(words(), name)
export const outputName = (name: string): string => words().outputs.get(name) ?? spaced(name)
export const categoryName = (category: string): string =>
  isChinese() ? category.split('/').map((part) => chinese().categories.get(part) ?? (part === 'utils' ? t('builtin.utils') : part)).join(' / ') : category.replaceAll('/', ' / ')

/** What the server says, in the user's language; what is not known (of packs, of libraries) as it came, in quotes. */
export const said = (text: string): string => (isChinese() && text ? (translated(chinese().sentences, text) ?? `“${text}”`) : text)
/** What is said of something, behind its name. */
export const about = (what: string, words: string): string => t('app.about', { what, words })
/** A problem in words. */
export function problemWords(problem: Problem): string {
  const { input = '', message = '', near } = problem.params
  const key = problem.code === 'not_in_list' && near ? 'problem.not_in_list_near' : (`problem.${problem.code}` as const)
  return t(key, { ...problem.params, input: inputName(input), message: said(message) })
}

/** Seconds as people read them. */
export function seconds(value: number): string {
  const language = useSettings.getState().language === 'zh' ? 'zh-CN' : 'en'
  const digits = value < 0.1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)
}
