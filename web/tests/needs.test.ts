import { expect, test } from 'vitest'
import { toApi } from '../src/io/api'
import { RawNumber, writeJson } from '../src/io/json'
import { saysMore } from '../src/io/pictures'
import { readUi, writeUi } from '../src/io/ui'
import { controlOf, looksShifted } from '../src/io/widgets'
import { inputOf, type InputDef, type NodeDef } from '../src/model/definitions'
import type { Document, Node } from '../src/model/document'
import { addNode, setRaw, setValue, withNode } from '../src/model/edit'
import { missingOf, replaceEverywhere } from '../src/model/missing'
import { nextSeeds, putSeeds, seedsOf } from '../src/model/seed'
import { makeSubgraph } from '../src/model/subgraphEdit'
import { readSeveral, textOf, valuesOf, writeSeveral } from '../src/model/sweep'
import { checkValue, validate } from '../src/model/validate'
import { isInTheBox, isNegative, readsForTheBox, unheard } from '../src/model/world'
import { definitions, exampleText, object } from './helpers'

const defs = definitions()
const start = (): Document => readUi(object(exampleText()), defs)
const input = (name: string): InputDef => inputOf(defs.get('KSampler'), name) as InputDef

test('several values are typed as lists, ranges and patterns', () => {
  expect(valuesOf('2, 4,6', input('steps'))).toEqual([2, 4, 6])
  expect(valuesOf('1..3, 10..20:5', input('steps'))).toEqual([1, 2, 3, 10, 15, 20])
  expect(valuesOf('2..3:0.5, -1.5', input('cfg'))).toEqual([2, 2.5, 3, -1.5])
  expect(writeJson(valuesOf('18446744073709551614..18446744073709551615', input('seed')) as never)).toBe('[18446744073709551614,18446744073709551615]')
  const sampler = input('sampler_name')
  expect(valuesOf('*', sampler)).toEqual(sampler.choices)
  expect(valuesOf('euler, dpmpp_2m', sampler)).toEqual(['euler', 'dpmpp_2m'])
  expect(valuesOf('EUL*', sampler)).toEqual(sampler.choices.filter((each) => String(each).startsWith('eul')))
  expect(valuesOf('a cat, big | a dog', inputOf(defs.get('CLIPTextEncode'), 'text') as InputDef)).toEqual(['a cat, big', 'a dog'])
  expect(valuesOf('true, false', { ...input('steps'), widget: 'toggle' })).toEqual([true, false])
  for (const bad of ['', 'x', '5..1', '1..5:0', '1..9999999', '1..2:0.5']) expect(valuesOf(bad, input('steps')), bad).toBeNull()
  for (const bad of ['x', '3..2', '1..2:0']) expect(valuesOf(bad, input('cfg')), bad).toBeNull()
  expect([valuesOf('nobody', sampler), valuesOf('z*', sampler), valuesOf('maybe', { ...input('steps'), widget: 'toggle' })]).toEqual([null, null, null])
  expect(textOf({ values: [2, 4], axis: '' }, input('steps'))).toBe('2, 4')
})

test('a field of several values is sent and saved as it is, checked value by value, and its seeds stay', () => {
  const swept = setValue(setValue(start(), '3', 'cfg', writeSeveral([2, 4], 'both')), '3', 'seed', writeSeveral([1, 2], ''))
  expect(toApi(swept, defs)['3']?.inputs).toMatchObject({ cfg: { __sweep__: [2, 4], axis: 'both' }, seed: { __sweep__: [1, 2] } })
  const again = readUi(object(writeJson(writeUi(swept, defs))), defs)
  expect(readSeveral(again.nodes.get('3')?.values.cfg)).toEqual({ values: [2, 4], axis: 'both' })
  expect(looksShifted(again.nodes.get('3') as Node, defs.get('KSampler') as NodeDef)).toBe(false)
  expect(validate(again, defs)).toEqual([])
  expect(checkValue(input('steps'), writeSeveral([5, 0], ''))?.code).toBe('too_small')
  const random = setValue(swept, '3', controlOf('seed'), 'randomize')
  expect(nextSeeds(random, defs, seedsOf(random, defs), () => 0)).toBe(random)
  expect(putSeeds(random, defs, new Map([...seedsOf(random, defs)].map(([key]) => [key, 9])), seedsOf(random, defs))).toBe(random)
  expect(readSeveral({ __seeds__: { from: 18446744073709551615 as never, count: 2 } })?.values).toHaveLength(2)
  expect(readSeveral({ __seeds__: { from: new RawNumber('18446744073709551614'), count: 2 }, axis: 's' })).toEqual({ values: [new RawNumber('18446744073709551614'), new RawNumber('18446744073709551615')], axis: 's' })
  expect([readSeveral({ other: 1 }), readSeveral(3)]).toEqual([null, null])
})

test('what is missing is told once, by pack and by file, and replaced everywhere, in subgraphs too', () => {
  const loader = defs.get('CheckpointLoaderSimple') as NodeDef
  const first = addNode(start(), loader, [0, 900], [200, 60])
  const lost = (doc: Document, id: string): Document => setValue(doc, id, 'ckpt_name', 'sd\\dream.safetensors')
  let doc = lost(lost(first.doc, first.id), '4')
  doc = withNode(doc, setRaw(doc.nodes.get('4') as Node, { properties: { models: [{ name: 'dream.safetensors', url: 'https://example.org/d' }, { name: 'x', url: 'javascript:1' }] } }))
  let counter = 0
  const packed = makeSubgraph(doc, new Set([first.id]), 'Inside', defs, () => [200, 100], () => `id-${++counter}`)
  if (!packed) throw new Error('nothing made')
  doc = packed.doc
  const odd = (id: string, type: string, properties: object): Node => ({ ...(doc.nodes.get('9') as Node), id, type, raw: { id: Number(id), type, properties } as never, layout: null })
  for (const node of [odd('70', 'Magic', { cnr_id: 'pack' }), odd('71', 'Magic', {}), odd('72', 'Alone', { aux_id: 'a/b' }), odd('73', 'Nobody', {})]) doc = withNode(doc, node)
  const missing = missingOf(doc, defs, validate(doc, defs))
  expect(missing.types.map(({ type, pack, nodes }) => [type, pack, nodes.length])).toEqual([['Alone', 'a/b', 1], ['Magic', 'pack', 2], ['Nobody', '', 1]])
  expect(missing.files).toMatchObject([{ value: 'sd\\dream.safetensors', input: 'ckpt_name', nodes: ['4', `${packed.id}:${first.id}`], url: 'https://example.org/d' }])
  expect(missing.rest.every((problem) => problem.code !== 'unknown_type' && problem.code !== 'not_in_list')).toBe(true)
  const [file] = missing.files
  const next = loader.inputs[0]?.choices[0] as string
  const done = replaceEverywhere(doc, defs, file as never, next)
  expect(missingOf(done, defs, validate(done, defs)).files).toEqual([])
  expect(replaceEverywhere(doc, defs, file as never, 'not there either')).toBe(doc)
})

test('an empty list of choices, and an empty choice, are said as such', () => {
  const sampler = input('sampler_name')
  expect(checkValue({ ...sampler, choices: [] }, '')?.code).toBe('no_choices')
  expect(checkValue({ ...sampler, choices: [], upload: true }, '')?.code).toBe('no_pictures')
  expect(checkValue(sampler, '')?.code).toBe('nothing_chosen')
  expect(checkValue(sampler, 'gone')?.code).toBe('not_in_list')
})

test('a picture that says nothing besides its pixels is no question for the server', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
  expect([saysMore(bytes('PNG IHDR IDAT IEND')), saysMore(bytes('PNG tEXtparameters')), saysMore(bytes('xx iTXt')), saysMore(bytes('RIFF Exif'))]).toEqual([false, true, true, true])
})

test('what the model in the box has never heard of is found in a prompt', () => {
  expect(unheard('two red boats on the sea, (watercolour:1.2)')).toEqual([])
  expect(unheard("a dragon's castle, embedding:dragons, // not said")).toEqual(["dragon's", 'castle'])
  expect(unheard('日落，海上，一条龙')).toEqual(['龙'])
  expect([isInTheBox('darkroom-world-256.safetensors'), isInTheBox('a/darkroom-world.ckpt'), isInTheBox('dream.safetensors')]).toEqual([true, true, false])
  expect(readsForTheBox(start(), '6')).toBe(true)
  expect(readsForTheBox(setValue(start(), '4', 'ckpt_name', 'dream.safetensors'), '6')).toBe(false)
  expect([readsForTheBox(start(), '5'), readsForTheBox(start(), 'gone')]).toEqual([false, false])
  expect(['6', '7', '9'].map((id) => isNegative(start(), id))).toEqual([false, true, false])
})
