import { expect, test } from 'vitest'
import { readUi } from '../src/io/ui'
import { canConnect, fittingInputs, portsOf } from '../src/model/connect'
import { readDefinitions } from '../src/model/definitions'
import type { Document } from '../src/model/document'
import { addNode, connect, removeLinks } from '../src/model/edit'

const match = (id: string, allowed = '*') => ['COMFY_MATCHTYPE_V3', { template: { template_id: id, allowed_types: allowed } }]
const source = (type: string) => ({ input: { required: {} }, output: [type] })
const defs = readDefinitions({
  Image: source('IMAGE'),
  Latent: source('LATENT'),
  Anything: source('*'),
  Switch: {
    input: { required: { switch: ['BOOLEAN', {}], on_false: match('T'), on_true: match('T') } },
    output: ['COMFY_MATCHTYPE_V3', 'INT'],
    output_matchtypes: ['T', null],
  },
  List: {
    input: { required: { inputs: ['COMFY_AUTOGROW_V3', { template: { input: { required: { input: match('any') } }, min: 1, prefix: 'input', max: 9 } }] } },
    output: ['COMFY_MATCHTYPE_V3'],
    output_matchtypes: ['any'],
  },
  Resize: { input: { required: { input: match('kind', 'IMAGE,MASK') } }, output: ['COMFY_MATCHTYPE_V3'], output_matchtypes: ['kind'] },
  Decode: { input: { required: { samples: ['LATENT', {}] } }, output: ['IMAGE'] },
} as never)

/** A graph with one node of each of these types, and their ids. */
function graph(...types: string[]): { doc: Document; ids: string[] } {
  let doc = readUi({ nodes: [], links: [], version: 0.4 }, defs)
  const ids = types.map((type) => {
    const added = addNode(doc, defs.get(type) as never, [0, 0], [200, 100])
    doc = added.doc
    return added.id
  })
  return { doc, ids }
}

function joined(doc: Document, from: string, to: string, input: string): Document {
  const ends = { from, fromSlot: 0, to, input }
  expect(canConnect(doc, defs, ends)).toEqual({ ok: true })
  const target = doc.nodes.get(to) as never as { type: string }
  return connect(doc, ends, defs.get(target.type), portsOf(doc, doc.nodes.get(from) as never, defs).outputs[0]?.type ?? '*')
}

const types = (doc: Document, id: string) => {
  const ports = portsOf(doc, doc.nodes.get(id) as never, defs)
  return [...ports.inputs.map((port) => port.type), '→', ...ports.outputs.map((port) => port.type)]
}

test('the first link decides what a switch takes and gives', () => {
  const { doc, ids } = graph('Image', 'Latent', 'Switch', 'Decode')
  const [image, latent, choice, decode] = ids as [string, string, string, string]
  expect(types(doc, choice)).toEqual(['*', '*', '→', '*', 'INT'])
  const one = joined(doc, latent, choice, 'on_true')
  expect(types(one, choice)).toEqual(['LATENT', 'LATENT', '→', 'LATENT', 'INT'])
  expect(canConnect(one, defs, { from: image, fromSlot: 0, to: choice, input: 'on_false' })).toMatchObject({ ok: false, reason: 'types', given: 'IMAGE', wanted: 'LATENT' })
  expect(fittingInputs(one, defs, image, 0, one.nodes.get(choice) as never).map((port) => port.name)).toEqual(['on_true'])
  const out = joined(one, choice, decode, 'samples')
  expect([...out.links.values()].map((link) => link.type)).toEqual(['LATENT', 'LATENT'])
})

test('the one link that decides may be another, and without links anything goes again', () => {
  const { doc, ids } = graph('Image', 'Latent', 'Switch')
  const [image, latent, choice] = ids as [string, string, string]
  const one = joined(doc, latent, choice, 'on_true')
  const other = joined(one, image, choice, 'on_true')
  expect(types(other, choice)).toEqual(['IMAGE', 'IMAGE', '→', 'IMAGE', 'INT'])
  const two = joined(other, image, choice, 'on_false')
  expect(canConnect(two, defs, { from: latent, fromSlot: 0, to: choice, input: 'on_true' }).ok).toBe(false)
  expect(types(removeLinks(two, [...two.links.keys()]), choice)).toEqual(['*', '*', '→', '*', 'INT'])
})

test('a type is found however far back it was decided', () => {
  const { doc, ids } = graph('Image', 'Switch', 'Switch', 'List', 'Decode', 'Latent')
  const [image, first, second, list, decode, latent] = ids as [string, string, string, string, string, string]
  const chain = joined(joined(joined(doc, image, first, 'on_true'), first, second, 'on_false'), second, list, 'inputs.input0')
  expect(types(chain, list)).toEqual(['IMAGE', 'IMAGE', '→', 'IMAGE'])
  expect(canConnect(chain, defs, { from: list, fromSlot: 0, to: decode, input: 'samples' }).ok).toBe(false)
  expect(canConnect(chain, defs, { from: latent, fromSlot: 0, to: list, input: 'inputs.input1' }).ok).toBe(false)
  const more = joined(chain, image, list, 'inputs.input1')
  expect(types(more, list)).toEqual(['IMAGE', 'IMAGE', 'IMAGE', '→', 'IMAGE'])
})

test('a type may be one of a few', () => {
  const { doc, ids } = graph('Image', 'Latent', 'Resize')
  const [image, latent, resize] = ids as [string, string, string]
  expect(types(doc, resize)).toEqual(['IMAGE,MASK', '→', 'IMAGE,MASK'])
  expect(canConnect(doc, defs, { from: latent, fromSlot: 0, to: resize, input: 'input' }).ok).toBe(false)
  expect(types(joined(doc, image, resize, 'input'), resize)).toEqual(['IMAGE', '→', 'IMAGE'])
})

test('what may be anything decides nothing', () => {
  const { doc, ids } = graph('Anything', 'Latent', 'Switch')
  const [any, latent, choice] = ids as [string, string, string]
  const one = joined(doc, any, choice, 'on_false')
  expect(types(joined(one, latent, choice, 'on_true'), choice)).toEqual(['*', '*', '→', '*', 'INT'])
})
