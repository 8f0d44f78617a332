import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isObject, parseJson, type Json, type JsonObject } from '../src/io/json'
import { readDefinitions, type Definitions } from '../src/model/definitions'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export const fixture = (name: string): string => readFileSync(here(`fixtures/${name}`), 'utf-8')
export const exampleText = (): string => readFileSync(here('../src/examples/text_to_image.json'), 'utf-8')
export const object = (text: string): JsonObject => {
  const value: Json = parseJson(text)
  if (!isObject(value)) throw new Error('no object')
  return value
}
export const definitions = (): Definitions => readDefinitions(object(fixture('object_info.json')))
export const templates = (): string | null => {
  const place = process.env.COMFYUI_TEMPLATES ?? ''
  return place && existsSync(place) ? place : null
}

/** Files with group nodes, and what the official editor makes of them. */
export const groupNodes = (): Record<string, { file: JsonObject; prompt: JsonObject }> => object(fixture('group_nodes.json')) as never

/** Numbers that look random and are the same every time. */
export function numbers(seed: number): () => number {
  let state = seed
  return () => ((state = (state * 1103515245 + 12345) & 0x7fffffff), state / 0x7fffffff)
}
