/** Node types, as the server's /object_info tells them. */
import { isArray, isObject, toNumber, toText, type Json, type JsonObject } from '../io/json'
import { ANY, MATCH, typeName } from './types'

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
  /** The inputs that each choice of a dynamic combo adds, with their full dotted names. */
  readonly branches?: ReadonlyMap<string, readonly InputDef[]>
  /** What a group of inputs is made of: it has as many members as are linked, and one more. */
  readonly members?: Members
  /** What its type is called that the first link decides, for it and all other sockets of the node that call it so. */
  readonly match?: string
}

export interface Members {
  readonly names: readonly string[]
  readonly least: number
  readonly each: InputDef
}

export interface OutputDef {
  readonly name: string
  readonly type: string
  readonly tooltip: string
  readonly match?: string
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

/** Names that node types of ComfyUI's core had, which its editor mends when it opens a file. */
const RENAMED: Readonly<Record<string, string>> = {
  T2IAdapterLoader: 'ControlNetLoader',
  'ConditioningAverage ': 'ConditioningAverage',
  SDV_img2vid_Conditioning: 'SVD_img2vid_Conditioning',
}

/** Types by their names; one that has another name now is found by both, and says the new one. */
export function readDefinitions(answer: Json): Definitions {
  const found = new Map<string, NodeDef>()
  if (!isObject(answer)) return found
  for (const [type, entry] of Object.entries(answer)) if (isObject(entry)) found.set(type, readNode(type, entry))
  for (const [old, type] of Object.entries(RENAMED)) {
    const def = found.get(type)
    if (def && !found.has(old)) found.set(old, def)
  }
  return found
}

function readNode(type: string, entry: JsonObject): NodeDef {
  const inputs = readInputs(entry.input, entry.input_order)
  const names = isArray(entry.output_name) ? entry.output_name : []
  const tips = isArray(entry.output_tooltips) ? entry.output_tooltips : []
  const templates = isArray(entry.output_matchtypes) ? entry.output_matchtypes : []
  const outputs = (isArray(entry.output) ? entry.output : []).map((given, slot) => {
    const match = given === MATCH ? toText(templates[slot]) : ''
    const type = match ? (inputs.find((input) => input.match === match)?.type ?? ANY) : typeName(given)
    return { name: toText(names[slot], typeName(given)), type, tooltip: toText(tips[slot]), ...(match ? { match } : {}) }
  })
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

function readInputs(given: Json | undefined, order: Json | undefined): InputDef[] {
  return ['required', 'optional'].flatMap((group) => {
    const members = isObject(given) ? given[group] : undefined
    if (!isObject(members)) return []
    return namesOf(order, group, members).flatMap((name) => {
      const declared = members[name]
      return isArray(declared) ? [readInput(name, declared, group === 'optional')] : []
    })
  })
}

function namesOf(orders: Json | undefined, group: string, members: JsonObject): string[] {
  const order = isObject(orders) ? orders[group] : undefined
  const first = isArray(order) ? order.filter((name): name is string => typeof name === 'string' && name in members) : []
  return [...first, ...Object.keys(members).filter((name) => !first.includes(name))]
}

const KINDS: Readonly<Record<string, WidgetKind>> = {
  INT: 'int',
  FLOAT: 'float',
  STRING: 'text',
  BOOLEAN: 'toggle',
  COMBO: 'combo',
  COMFY_DYNAMICCOMBO_V3: 'combo',
  MARKDOWN: 'text',
  COLOR: 'text',
  BOUNDING_BOX: 'text',
  IMAGEUPLOAD: 'text',
}

function readInput(name: string, given: readonly Json[], optional: boolean): InputDef {
  const options = isObject(given[1]) ? given[1] : {}
  const template = given[0] === MATCH && isObject(options.template) ? options.template : {}
  const match = toText(template.template_id)
  const type = typeName(match ? template.allowed_types : given[0])
  const kind = KINDS[toText(options.widgetType) || type] ?? null
  const isForced = options.forceInput === true
  const choices = isArray(given[0]) ? given[0] : isArray(options.options) ? options.options : []
  const asked = options.control_after_generate
  const isSeed = type === 'INT' && (asked === undefined || asked === null ? /^(noise_)?seed$/.test(name) : Boolean(asked))
  const input: InputDef = {
    name,
    type,
    widget: isForced ? null : kind,
    optional,
    options,
    choices,
    isForced: isForced && kind !== null,
    control: isSeed ? 'seed' : type === 'COMBO' && asked ? 'combo' : 'none',
    upload: type === 'COMBO' && (options.image_upload === true || options.animated_image_upload === true || options.video_upload === true),
    tooltip: toText(options.tooltip),
    ...(match ? { match } : {}),
  }
  if (type === 'COMFY_DYNAMICCOMBO_V3') return branching(input)
  return type === 'COMFY_AUTOGROW_V3' ? growing(input) : input
}

/** A dynamic combo, with what each of its choices adds. */
function branching(input: InputDef): InputDef {
  const branches = new Map(input.choices.filter(isObject).map((option) => [String(option.key), readInputs(option.inputs, undefined).map((each) => inside(each, input.name))]))
  return { ...input, choices: [...branches.keys()], branches }
}

/** Far more members than anybody links, where a type says no number. */
const MOST_MEMBERS = 100

/** A group of inputs that are told apart by number or by name. */
function growing(input: InputDef): InputDef {
  const template = isObject(input.options.template) ? input.options.template : {}
  const each = readInputs(template.input, undefined)[0]
  if (!each) return input
  const given = isArray(template.names) ? template.names.map((name) => toText(name)) : []
  const names = given.length ? given : Array.from({ length: Math.min(toNumber(template.max, MOST_MEMBERS), MOST_MEMBERS) }, (_, at) => `${toText(template.prefix, each.name)}${at}`)
  return { ...input, members: { names, least: toNumber(template.min), each: { ...each, widget: null, optional: each.optional || input.optional } } }
}

function inside(input: InputDef, prefix: string): InputDef {
  const branches = input.branches && new Map([...input.branches].map(([key, inputs]) => [key, inputs.map((each) => inside(each, prefix))]))
  return { ...input, name: `${prefix}.${input.name}`, ...(branches ? { branches } : {}) }
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
