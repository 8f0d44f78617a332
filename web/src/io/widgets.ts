/** `widgets_values`: from positions to names and back. */
import { defaultOf, type InputDef, type NodeDef } from '../model/definitions'
import type { Node, Values } from '../model/document'
import { isArray, isObject, RawNumber, type Json, type JsonObject } from './json'

/** The name of an input's control word among the values: no input can be called so. */
export const controlOf = (name: string): string => `${name}\u0000control`
const filterOf = (name: string): string => `${name}\u0000filter`
const buttonOf = (name: string): string => `${name}\u0000button`
const tailOf = (index: number): string => `\u0000tail${index}`
export const isExtra = (name: string): boolean => name.includes('\u0000')

/** The names of the positions, in order; `forced` counts forceInput inputs as files of old editors do. */
export function layoutOf(def: NodeDef, forced = false): string[] {
  const names: string[] = []
  const buttons: string[] = []
  for (const input of def.inputs) {
    if (!input.widget && !(forced && input.isForced)) continue
    names.push(input.name)
    if (input.control !== 'none') names.push(controlOf(input.name))
    if (input.control === 'combo') names.push(filterOf(input.name))
    if (input.upload) buttons.push(buttonOf(input.name))
  }
  return [...names, ...buttons]
}

/** Gives a node its values by name, if its type is known and it has none yet. */
export function bindValues(node: Node, def: NodeDef | undefined): Node {
  if (node.layout !== null || !def) return node
  const list = node.raw.widgets_values
  const named = node.raw.widgets_values_named
  let values: Record<string, Json> = {}
  let layout: string[] | 'object' = layoutOf(def)
  if (isObject(list)) {
    values = { ...list }
    layout = 'object'
  } else if (isArray(list)) {
    const old = layoutOf(def, true)
    if (old.length !== layout.length && list.length === old.length) layout = old
    list.forEach((value, index) => {
      const name = layout[index] ?? tailOf(index)
      values[name] = value
      if (layout !== 'object' && index >= layout.length) layout.push(name)
    })
  }
  if (isObject(named)) for (const [name, value] of Object.entries(named)) values[name] = value
  return { ...node, values, given: values, layout }
}

/** A new node's values and their layout. */
export function freshValues(def: NodeDef): { values: Values; layout: string[] } {
  const values: Record<string, Json> = {}
  for (const input of def.inputs) {
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
  else
    raw.widgets_values = node.layout.map((name) => {
      const input = def?.inputs.find((each) => each.name === name)
      return node.values[name] ?? (input ? defaultOf(input) : null)
    })
  if (isObject(node.raw.widgets_values_named)) {
    const named: Record<string, Json> = { ...node.raw.widgets_values_named }
    for (const [name, value] of Object.entries(node.values)) if (!isExtra(name)) named[name] = value
    raw.widgets_values_named = named
  }
  return raw
}

export function valueOf(node: Node, input: InputDef): Json {
  return node.values[input.name] ?? defaultOf(input)
}

/** Whether a saved value cannot belong to its input: the list was made for another version of the node. */
export function looksShifted(node: Node, def: NodeDef): boolean {
  return def.inputs.some((input) => {
    const value = node.values[input.name]
    if (value === undefined || value === null || (isObject(value) && ('__sweep__' in value || '__seeds__' in value)) || isObject(node.raw.widgets_values_named)) return false
    if (input.widget === 'int' || input.widget === 'float')
      return !(typeof value === 'number' || value instanceof RawNumber || (typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value))))
    if (input.widget === 'toggle') return typeof value !== 'boolean'
    return false
  })
}
