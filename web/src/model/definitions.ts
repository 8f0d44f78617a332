/** Node types, as the server's /object_info tells them. */
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from '../io/json'
import { typeName } from './types'

export type WidgetKind = 'int' | 'float' | 'text' | 'toggle' | 'combo'

export interface InputDef {
  readonly name: string
  readonly type: string
  readonly widget: WidgetKind | null
  readonly optional: boolean
  readonly options: JsonObject
  readonly choices: readonly Json[]
  readonly isForced: boolean
  readonly control: 'none' | 'seed' | 'combo'
  readonly upload: boolean
  readonly tooltip: string
  /** The field inside that this one of a subgraph's instance stands for, where what happens after a run is kept inside. */
  readonly within?: { readonly node: string; readonly input: InputDef }
}

export interface OutputDef {
  readonly name: string
  readonly type: string
  readonly tooltip: string
}

export interface NodeDef {
  readonly type: string
  readonly title: string
  readonly category: string
  readonly description: string
  readonly pack: string
  readonly inputs: readonly InputDef[]
  readonly outputs: readonly OutputDef[]
  readonly isTerminal: boolean
  readonly isDeprecated: boolean
  readonly isExperimental: boolean
}

export type Definitions = ReadonlyMap<string, NodeDef>

export function readDefinitions(answer: Json): Definitions {
  const found = new Map<string, NodeDef>()
  if (!isObject(answer)) return found
  for (const [type, entry] of Object.entries(answer)) if (isObject(entry)) found.set(type, readNode(type, entry))
  return found
}

function readNode(type: string, entry: JsonObject): NodeDef {
  const groups = isObject(entry.input) ? entry.input : {}
  const inputs: InputDef[] = []
  for (const group of ['required', 'optional']) {
    const members = groups[group]
    if (!isObject(members)) continue
    for (const name of namesOf(entry, group, members)) {
      const given = members[name]
      if (isArray(given)) inputs.push(readInput(name, given, group === 'optional'))
    }
  }
  const names = isArray(entry.output_name) ? entry.output_name : []
  const tips = isArray(entry.output_tooltips) ? entry.output_tooltips : []
  const outputs = (isArray(entry.output) ? entry.output : []).map((given, slot) => ({
    name: toText(names[slot], typeName(given)),
    type: typeName(given),
    tooltip: toText(tips[slot]),
  }))
  return {
    type,
    title: toText(entry.display_name) || type,
    category: toText(entry.category),
    description: toText(entry.description),
    pack: toText(entry.python_module),
    inputs,
    outputs,
    isTerminal: entry.output_node === true,
    isDeprecated: entry.deprecated === true,
    isExperimental: entry.experimental === true,
  }
}

function namesOf(entry: JsonObject, group: string, members: JsonObject): string[] {
  const order = isObject(entry.input_order) ? entry.input_order[group] : undefined
  const first = isArray(order) ? order.filter((name): name is string => typeof name === 'string' && name in members) : []
  return [...first, ...Object.keys(members).filter((name) => !first.includes(name))]
}

const KINDS: Readonly<Record<string, WidgetKind>> = {
  INT: 'int',
  FLOAT: 'float',
  STRING: 'text',
  BOOLEAN: 'toggle',
  COMBO: 'combo',
}

function readInput(name: string, given: readonly Json[], optional: boolean): InputDef {
  const options = isObject(given[1]) ? given[1] : {}
  const type = typeName(given[0])
  const kind = KINDS[toText(options.widgetType) || type] ?? null
  const isForced = options.forceInput === true
  const choices = isArray(given[0]) ? given[0] : isArray(options.options) ? options.options : []
  const isSeed = type === 'INT' && (options.control_after_generate === true || (options.control_after_generate === undefined && /^(noise_)?seed$/.test(name)))
  return {
    name,
    type,
    widget: isForced ? null : kind,
    optional,
    options,
    choices,
    isForced: isForced && kind !== null,
    control: isSeed ? 'seed' : kind === 'combo' && options.control_after_generate === true ? 'combo' : 'none',
    upload: kind === 'combo' && (options.image_upload === true || options.animated_image_upload === true || options.video_upload === true),
    tooltip: toText(options.tooltip),
  }
}

/** What a widget holds until somebody says otherwise. */
export function defaultOf(input: InputDef): Json {
  const given = input.options.default
  if (given !== undefined && !isArray(given)) return given
  switch (input.widget) {
    case 'combo':
      return input.choices[0] ?? ''
    case 'int':
    case 'float':
      return Math.max(0, toNumber(input.options.min, 0))
    case 'toggle':
      return false
    default:
      return ''
  }
}

export function inputOf(def: NodeDef | undefined, name: string): InputDef | undefined {
  return def?.inputs.find((input) => input.name === name)
}
