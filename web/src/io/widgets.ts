/** `widgets_values`: from positions to names and back. */
import { defaultOf, type InputDef, type NodeDef } from '../model/definitions'
import type { Node, Values } from '../model/document'
import { activeInputs } from '../model/varying'
import { isArray, isObject, RawNumber, toNumber, type Json, type JsonObject } from './json'

/** The name of an input's control word among the values: no input can be called so. */
export const controlOf = (name: string): string => `${name}\u0000control`
const filterOf = (name: string): string => `${name}\u0000filter`
const buttonOf = (name: string): string => `${name}\u0000button`
const tailOf = (index: number | ''): string => `\u0000tail${index}`
/** What stands behind a field that has just come: nothing happens to it after a run. */
const freshExtra = (name: string): Json => (name.endsWith(controlOf('')) ? 'fixed' : null)
export const isExtra = (name: string): boolean => name.includes('\u0000')

/** The names of the positions, in order. `read` says what stands at one, since a choice decides what stands behind it;
 *  `forced` counts forceInput inputs as files of old editors do. */
export function layoutOf(def: NodeDef, read: (name: string, place: number) => Json | undefined = () => undefined, forced = false): string[] {
  const names: string[] = []
  const walk = (inputs: readonly InputDef[]): void => {
    const buttons: string[] = []
    for (const input of inputs) {
      if (!input.widget && !(forced && input.isForced)) continue
      const value = read(input.name, names.length) ?? defaultOf(input)
      names.push(input.name)
      if (input.control !== 'none') names.push(controlOf(input.name))
      if (input.control === 'combo') names.push(filterOf(input.name))
      if (input.upload) buttons.push(buttonOf(input.name))
      if (input.branches) walk(input.branches.get(String(value)) ?? [])
    }
    names.push(...buttons)
  }
  walk(def.inputs)
  return names
}

/** Gives a node its values by name, if its type is known and it has none yet. */
export function bindValues(node: Node, def: NodeDef | undefined): Node {
  if (node.layout !== null || !def) return node
  const list = node.raw.widgets_values
  const named = node.raw.widgets_values_named
  const values: Record<string, Json> = {}
  let layout: string[] | 'object' = 'object'
  let fits = false
  if (isObject(list)) Object.assign(values, list)
  else {
    const given = isArray(list) ? list : []
    const at = (_: string, place: number): Json | undefined => given[place]
    layout = layoutOf(def, at)
    const old = given.length > layout.length ? layoutOf(def, at, true) : layout
    if (given.length === old.length) layout = old
    fits = given.length === layout.length
    for (let place = layout.length; place < given.length; place++) layout.push(tailOf(place))
    given.forEach((value, place) => (values[layout[place] as string] = value))
  }
  if (isObject(named) && !(fits && activeInputs(def.inputs, named).every((input) => isPlausible(input, values[input.name])))) Object.assign(values, named)
  return { ...node, values, given: values, layout }
}

/** Whether a value can be meant for a field: the list wins over values by name while all of it can. */
function isPlausible(input: InputDef, value: Json | undefined): boolean {
  if (value === undefined || value === null || !input.widget) return true
  if (input.type === 'INT' || input.type === 'FLOAT') return typeof value !== 'boolean' && Number.isFinite(toNumber(value, Number.NaN))
  if (input.type === 'BOOLEAN') return typeof value === 'boolean'
  return !(input.type === 'STRING' || input.type === 'COMBO') || (typeof value !== 'boolean' && !isObject(value))
}

/** A new node's values and their layout. */
export function freshValues(def: NodeDef): { values: Values; layout: string[] } {
  const values: Record<string, Json> = {}
  for (const input of activeInputs(def.inputs, {})) {
    if (!input.widget) continue
    values[input.name] = defaultOf(input)
    if (input.control !== 'none') values[controlOf(input.name)] = input.control === 'seed' ? 'randomize' : 'fixed'
    if (input.control === 'combo') values[filterOf(input.name)] = ''
    if (input.upload) values[buttonOf(input.name)] = 'image'
  }
  return { values, layout: layoutOf(def) }
}

/** The node's raw fields with its values written back; untouched ones stay as the file has them. */
export function withValues(node: Node, def: NodeDef | undefined): JsonObject {
  if (node.layout === null || node.values === node.given) return node.raw
  const raw: Record<string, Json> = { ...node.raw }
  if (node.layout === 'object') raw.widgets_values = node.values
  else {
    const inputs = activeInputs(def?.inputs ?? [], node.values)
    raw.widgets_values = currentLayout(node, node.layout, def).map((name) => {
      const input = inputs.find((each) => each.name === name)
      return node.values[name] ?? (input ? defaultOf(input) : freshExtra(name))
    })
  }
  if (isObject(node.raw.widgets_values_named)) {
    const named: Record<string, Json> = { ...node.raw.widgets_values_named }
    for (const [name, value] of Object.entries(node.values)) if (!isExtra(name)) named[name] = value
    raw.widgets_values_named = named
  }
  return raw
}

/** The positions as the values are now: another choice puts other fields behind it. */
function currentLayout(node: Node, layout: readonly string[], def: NodeDef | undefined): readonly string[] {
  if (!def?.inputs.some((input) => input.branches)) return layout
  return [...layoutOf(def, (name) => node.values[name]), ...layout.filter((name) => name.startsWith(tailOf('')))]
}

export function valueOf(node: Node, input: InputDef): Json {
  return node.values[input.name] ?? defaultOf(input)
}

/** Whether a saved value cannot belong to its input: the list was made for another version of the node. */
export function looksShifted(node: Node, def: NodeDef): boolean {
  return activeInputs(def.inputs, node.values).some((input) => {
    const value = node.values[input.name]
    if (value === undefined || value === null || (isObject(value) && ('__sweep__' in value || '__seeds__' in value)) || isObject(node.raw.widgets_values_named)) return false
    if (input.widget === 'int' || input.widget === 'float')
      return !(typeof value === 'number' || value instanceof RawNumber || (typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value))))
    if (input.widget === 'toggle') return typeof value !== 'boolean'
    return false
  })
}
