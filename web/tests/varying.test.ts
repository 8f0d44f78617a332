import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { toApi } from '../src/io/api'
import { parseJson, type Json, type JsonObject } from '../src/io/json'
import { readUi, writeUi } from '../src/io/ui'
import { canConnect, portsOf } from '../src/model/connect'
import { readDefinitions } from '../src/model/definitions'
import { addNode, connect, makeNode, removeLinks, setValue } from '../src/model/edit'
import { searchNodes } from '../src/model/search'
import { validate } from '../src/model/validate'
import { defFor } from '../src/model/varying'
import { object } from './helpers'

const here = (path: string): string => readFileSync(fileURLToPath(new URL(`../../tests/data/editor_files/${path}.json`, import.meta.url)), 'utf-8')
const defs = readDefinitions(parseJson(here('types')))
const corpus = (name: string): JsonObject => object(here(name)).file as JsonObject
const empty = readUi({ nodes: [], links: [], version: 0.4 }, defs)
const made = (type: string) => makeNode(1, defs.get(type) as never, [0, 0], [200, 100])
const names = (type: string, values: Record<string, Json>): string[] => (defFor(defs.get(type), { raw: {}, values })?.inputs ?? []).map((input) => input.name)

test('a choice decides which inputs a node has, and what is written of them', () => {
  expect(names('Resizer', {})).toEqual(['image', 'resize_type', 'resize_type.width', 'resize_type.height', 'resize_type.crop', 'scale_method'])
  expect(names('Resizer', { resize_type: 'by' })).toEqual(['image', 'resize_type', 'resize_type.multiplier', 'scale_method'])
  expect(names('Resizer', { resize_type: 'no such choice' })).toEqual(['image', 'resize_type', 'scale_method'])
  const doc = readUi(corpus('dynamic_choice'), defs)
  expect(doc.nodes.get('2')?.values).toMatchObject({ resize_type: 'longer side', 'resize_type.longer_size': 640, scale_method: 'lanczos' })
  const other = setValue(doc, '2', 'resize_type', 'by')
  const saved = readUi(writeUi(other, defs), defs)
  expect(saved.nodes.get('2')?.raw.widgets_values).toEqual(['by', 1.0, 'lanczos'].map((value) => (value === 1 ? expect.anything() : value)))
  expect(Object.keys(toApi(saved, defs)['2']?.inputs ?? {})).toEqual(['resize_type', 'resize_type.multiplier', 'scale_method', 'image'])
  expect(made('Resizer').values).toMatchObject({ resize_type: 'dimensions', 'resize_type.width': 512, scale_method: 'area' })
})

test('a type that is already as a node has it stays so: no field is there twice', () => {
  const node = { raw: {}, values: { resize_type: 'by' } }
  const once = defFor(defs.get('Resizer'), node)
  expect(defFor(once, node)?.inputs.map((input) => input.name)).toEqual(once?.inputs.map((input) => input.name))
})

test('a group has one free socket more than are linked', () => {
  const loaded = addNode(addNode(empty, defs.get('LoadImage') as never, [0, 0], [1, 1]).doc, defs.get('Batcher') as never, [500, 0], [1, 1]).doc
  const [image, batch] = [...loaded.nodes.keys()] as [string, string]
  const ports = (doc: typeof loaded): string[] => portsOf(doc, doc.nodes.get(batch) as never, defs).inputs.map((port) => port.name)
  expect(ports(loaded)).toEqual(['images.image0', 'images.image1'])
  expect(validate(loaded, defs).map((problem) => problem.input)).toEqual(['images.image0', 'images.image1'])
  const join = (doc: typeof loaded, input: string): typeof loaded => {
    const ends = { from: image, fromSlot: 0, to: batch, input }
    expect(canConnect(doc, defs, ends).ok).toBe(true)
    return connect(doc, ends, defs.get('Batcher'), 'IMAGE')
  }
  const two = join(join(loaded, 'images.image0'), 'images.image1')
  expect(ports(two)).toEqual(['images.image0', 'images.image1', 'images.image2'])
  const three = join(two, 'images.image2')
  expect(toApi(three, defs)[batch]?.inputs).toEqual({ 'images.image0': [image, 0], 'images.image1': [image, 0], 'images.image2': [image, 0] })
  const less = removeLinks(three, [[...three.links.keys()].at(-1) as string])
  expect(ports(less)).toEqual(['images.image0', 'images.image1', 'images.image2'])
  expect(validate(less, defs)).toEqual([])
})

test('what a group takes is found by it', () => {
  expect(searchNodes(defs, 'batcher', { takes: 'IMAGE' }, () => '').map((hit) => hit.def.type)).toEqual(['Batcher'])
  expect(searchNodes(defs, 'in:image batcher', {}, () => '').map((hit) => hit.def.type)).toEqual(['Batcher'])
})

test('a type that has another name now is known by the old one, and sent by the new', () => {
  const doc = readUi(corpus('old_class_name'), defs)
  expect(Object.values(toApi(doc, defs)).map((entry) => entry.class_type)).toEqual(Object.values(object(here('old_class_name')).api as Record<string, { class_type: string }>).map((entry) => entry.class_type))
  expect(searchNodes(defs, 'ControlNetLoader', {}, () => '').length).toBe(1)
})

test('a type without a template keeps its group as one socket', () => {
  const odd = readDefinitions({ Odd: { input: { required: { many: ['COMFY_AUTOGROW_V3', {}], choice: ['COMFY_DYNAMICCOMBO_V3', { options: [1, { key: 'a' }, { key: 'b', inputs: { required: { deep: ['COMFY_DYNAMICCOMBO_V3', { options: [{ key: 'x', inputs: { optional: { end: ['INT', {}] } } }] }] } } }] }], named: ['COMFY_AUTOGROW_V3', { template: { names: ['a', 'b'], input: { optional: { v: ['INT', {}] } } } }] } }, output: [] } })
  const of = (values: Record<string, Json>): unknown => defFor(odd.get('Odd'), { raw: {}, values })?.inputs.map((input) => input.name)
  expect(of({})).toEqual(['many', 'choice', 'named.a'])
  expect(of({ choice: 'b' })).toEqual(['many', 'choice', 'choice.deep', 'choice.deep.end', 'named.a'])
})
