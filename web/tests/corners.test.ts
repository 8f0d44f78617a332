import { deflateSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { previewIdOf, shownBy, toApi } from '../src/io/api'
import { parseJson, RawNumber, sameJson, writeJson, type Json, type JsonObject } from '../src/io/json'
import { readPicture } from '../src/io/pictures'
import { readApi } from '../src/io/readApi'
import { readUi, writeUi } from '../src/io/ui'
import { controlOf, freshValues, looksShifted } from '../src/io/widgets'
import { fittingNames } from '../src/model/completion'
import { defaultOf, inputOf, readDefinitions, type InputDef, type NodeDef } from '../src/model/definitions'
import { addGroup, moveNodes, removeGroup, removeLinks, removeNodes, rename, resizeNode, setColor, setMode, setValue } from '../src/model/edit'
import { begin, commit, mapHistory, redo, undo } from '../src/model/history'
import { searchNodes } from '../src/model/search'
import { choose, nextSeeds, resolveTexts, seedKey, seedsOf, whole, wordOf } from '../src/model/seed'
import { valuesOf } from '../src/model/sweep'
import { fits, typeName } from '../src/model/types'
import { checkValue, holding, nearest, told } from '../src/model/validate'
import { reweigh } from '../src/model/weight'
import { flagOf, type Document, type Node } from '../src/model/document'
import { definitions, exampleText, object } from './helpers'

const defs = definitions()
const start = (): Document => readUi(object(exampleText()), defs)
const text = (value: string): Uint8Array => new TextEncoder().encode(value)

function png(...chunks: (readonly [string, Uint8Array])[]): Uint8Array {
  const bytes: number[] = [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]
  for (const [type, data] of [...chunks, ['IEND', new Uint8Array()] as const]) bytes.push(...[24, 16, 8, 0].map((by) => (data.length >> by) & 255), ...text(type), ...data, 0, 0, 0, 0)
  return new Uint8Array(bytes)
}

test('PNG texts of every kind; the first of a name counts, broken ones do not', async () => {
  const packed = (value: string): Uint8Array => new Uint8Array(deflateSync(text(value)))
  const zip = new Uint8Array([...text('workflow\0'), 0, ...packed('{"nodes":[1]}')])
  const itxt = new Uint8Array([...text('prompt\0'), 1, 0, ...text('en\0translated\0'), ...packed('{"3":{"名":1}}')])
  expect(await readPicture(png(['zTXt', zip], ['iTXt', itxt], ['tEXt', text('workflow\0later')]))).toEqual({ workflow: '{"nodes":[1]}', prompt: '{"3":{"名":1}}' })
  expect(await readPicture(png(['zTXt', new Uint8Array([...text('workflow\0'), 0, 1, 2, 3])], ['tEXt', text('no name')]))).toEqual({})
  expect(await readPicture(png(['tEXt', new Uint8Array([...text('prompt\0{"a":"'), 0xe9, ...text('"}')])]))).toEqual({ prompt: '{"a":"é"}' })
})

function exif(entries: readonly string[], little: boolean, head: string): Uint8Array {
  const size = 10 + entries.length * 12 + 4
  const tiff = new Uint8Array(size + entries.reduce((sum, each) => sum + each.length + 1, 0))
  const view = new DataView(tiff.buffer)
  tiff.set(text(little ? 'II' : 'MM'))
  view.setUint16(2, 42, little)
  view.setUint32(4, 8, little)
  view.setUint16(8, entries.length, little)
  let at = size
  entries.forEach((entry, index) => {
    const place = 10 + index * 12
    view.setUint16(place, 0x0110 - index, little)
    view.setUint16(place + 2, entry.startsWith('!') ? 3 : 2, little)
    view.setUint32(place + 4, entry.length + 1, little)
    if (entry.length < 4) tiff.set(text(entry), place + 8)
    else view.setUint32(place + 8, at, little)
    tiff.set(text(entry), at)
    at += entry.length + 1
  })
  return new Uint8Array([...text(head), ...tiff])
}

function webp(type: string, block: Uint8Array): Uint8Array {
  const length = (of: number): number[] => [0, 8, 16, 24].map((by) => (of >> by) & 255)
  return new Uint8Array([...text('RIFF'), 0, 0, 0, 0, ...text('WEBP'), ...text('VP8 '), ...length(3), 1, 2, 3, 0, ...text(type), ...length(block.length), ...block])
}

test('WebP carries them in its EXIF block, in either order of bytes', async () => {
  for (const little of [true, false])
    for (const head of ['', 'Exif\0\0']) expect(await readPicture(webp('EXIF', exif(['Prompt:{"3":{}}', 'workflow:{"nodes":[]}', '!number', 'a:b', 'no colon here'], little, head)))).toEqual({ prompt: '{"3":{}}', workflow: '{"nodes":[]}' })
  expect(await readPicture(webp('XMP ', text('x')))).toEqual({})
  expect(await readPicture(webp('EXIF', text('short')))).toEqual({})
  expect(await readPicture(webp('EXIF', new Uint8Array([...text('II*\0'), 255, 255, 0, 0, 1, 0, 9, 9])))).toEqual({})
  expect(await readPicture(webp('EXIF', new Uint8Array([...text('II*\0'), 8, 0, 0, 0, 9, 0, 1, 1, 2, 0])))).toEqual({})
})

test('search: words for what goes in and out, packs, categories, letters in order', () => {
  const find = (query: string, filter = {}, recent: string[] = []): string[] => searchNodes(defs, query, filter, () => '', recent).map((hit) => hit.def.type)
  expect(find('in:image').sort()).toEqual(['ControlNetApplyAdvanced', 'PreviewImage', 'SaveImage', 'VAEEncode'])
  expect(find('in:nothing')).toEqual([])
  expect(find('out:nothing')).toEqual([])
  expect(find('pack:nodes').length).toBeGreaterThan(0)
  expect(find('pack:nowhere')).toEqual([])
  expect(find('KSampler')[0]).toBe('KSampler')
  expect(find('image').slice(0, 6)).toContain('LoadImage')
  expect(find('latent')).toContain('EmptyLatentImage')
  expect(find('ksmplr')).toContain('KSampler')
  expect(find('xy')).toEqual([])
  expect(find('', {}, ['SaveImage'])[0]).toBe('SaveImage')
  expect(find('', { takes: '*' })).not.toContain('EmptyLatentImage')
  const old = new Map([...defs].map(([type, def]): [string, NodeDef] => [type, type === 'KSampler' ? { ...def, isDeprecated: true } : def]))
  const score = (types: typeof old): number => searchNodes(types, 'ksampler', {}, () => '')[0]?.score ?? 0
  expect(score(old)).toBeLessThan(score(new Map(defs)))
})

test('control words of every kind', () => {
  expect([wordOf(true), wordOf(false), wordOf(undefined), wordOf(''), wordOf('increment')]).toEqual(['randomize', 'fixed', 'fixed', 'fixed', 'increment'])
  const answer = { Pick: { input: { required: { choice: ['COMBO', { options: ['a', 'b', 'c'], control_after_generate: true }], tiny: ['INT', { control_after_generate: true, min: -5, max: 5, step: 2 }], wide: ['INT', { control_after_generate: true, min: -2e18, max: 2e18 }] } }, output: [] } }
  const types = readDefinitions(answer)
  const file = (values: Json[]): Document => readUi({ nodes: [{ id: 1, type: 'Pick', pos: [0, 0], size: [1, 1], widgets_values: values }], links: [] }, types)
  const next = (values: Json[], random = 0.5): Record<string, Json> => {
    const doc = file(values)
    return { ...nextSeeds(doc, types, seedsOf(doc, types), () => random).nodes.get('1')?.values }
  }
  const walk = (choice: string, word: string): Json | undefined => next([choice, word, '', 0, 'fixed', 0, 'fixed']).choice
  expect([walk('c', 'increment'), walk('c', 'increment-wrap'), walk('a', 'decrement'), walk('a', 'randomize'), walk('b', 'increment'), walk('a', 'nonsense')]).toEqual(['c', 'a', 'a', 'b', 'c', 'a'])
  expect(next(['a', 'fixed', '', 5, 'increment', 0, 'fixed']).tiny).toBe(5)
  expect(next(['a', 'fixed', '', -5, 'decrement', 0, 'fixed']).tiny).toBe(-5)
  expect(next(['a', 'fixed', '', 1, 'increment', 0, 'fixed']).tiny).toBe(3)
  expect(next(['a', 'fixed', '', 0, 'fixed', 0, 'randomize'], 0).wide).toBe(-1125899906842624)
  expect(next(['a', 'fixed', '', 'words', 'increment', 2.4, 'increment'])).toMatchObject({ tiny: 2, wide: 3 })
  expect(seedKey('', '1', 'x')).not.toBe(seedKey('1', '', 'x'))
  expect(whole(5n)).toBe(5)
  expect(String(whole(-18446744073709551615n))).toBe('-18446744073709551615')
})

test('prompts and names: what is chosen, what is filled in', () => {
  expect(choose('a {b|c', () => 0.9)).toBe('a b|c')
  expect(choose('x } y {|z}', () => 0)).toBe('x } y ')
  expect(choose('http://a.b // gone', () => 0)).toBe('http://a.b ')
  const doc = rename(setValue(start(), '9', 'filename_prefix', '%date:yy-M-dd_h-mm-s%%Save me.filename_prefix%%KSampler.steps%%KSampler.none%'), '9', 'Save me')
  const made = resolveTexts(setValue(doc, '6', 'text', '{red|blue} cat'), defs, () => 0.9, new Date(2026, 0, 9, 4, 5, 6))
  expect(made.nodes.get('9')?.values.filename_prefix).toBe('26-1-09_4-05-6%date_yy-M-dd_h-mm-s%%Save me.filename_prefix%%KSampler.steps%%KSampler.none%20%KSampler.none%'.replace(/%date_.*none%20/, (whole) => whole))
  expect(made.nodes.get('6')?.values.text).toBe('blue cat')
})

test('JSON: what is the same, and what is none', () => {
  expect(sameJson([1, { a: new RawNumber('8.0') }], [1, { a: new RawNumber('8.0') }])).toBe(true)
  expect(sameJson(undefined, 1)).toBe(false)
  expect(sameJson(1, undefined)).toBe(false)
  expect(writeJson({ a: undefined as unknown as Json, b: 1 })).toBe('{"b":1}')
  expect(parseJson('[Infinity, NaN]')).toEqual([null, null])
  for (const bad of ['[1 2]', '{"a":1 "b":2}', '[1', '-']) expect(() => parseJson(bad)).toThrow()
})

test('defaults, kinds and limits of fields', () => {
  const given = readDefinitions({
    Many: {
      input: { required: { n: ['INT', { min: 3 }], f: ['FLOAT', {}], s: ['STRING', {}], b: ['BOOLEAN', {}], c: [[], {}], l: ['INT', { default: [1] }] }, optional: { o: ['IMAGE'], bad: 3 } },
      input_order: { required: ['s', 'gone', 4, 'n'] },
      output: ['IMAGE', ['a', 'b'], ''],
      output_name: ['picture'],
      output_tooltips: 'none',
      deprecated: true,
      experimental: true,
      output_node: true,
    },
  }).get('Many') as NodeDef
  expect(given.inputs.map((input) => input.name)).toEqual(['s', 'n', 'f', 'b', 'c', 'l', 'o'])
  expect(given.inputs.filter((input) => input.widget).map(defaultOf)).toEqual(['', 3, 0, false, '', 0])
  expect(given.outputs.map((output) => [output.name, output.type])).toEqual([['picture', 'IMAGE'], ['COMBO', 'COMBO'], ['*', '*']])
  expect([typeName(undefined), typeName(''), typeName(['a'])]).toEqual(['*', '*', 'COMBO'])
  expect(fits('A,B', 'c,b')).toBe(true)
  const input = given.inputs.find((each) => each.name === 'n') as never
  expect(checkValue(input, {})?.code).toBe('not_a_number')
  expect(checkValue(input, '2.5')?.code).toBe('too_small')
  expect(checkValue(given.inputs.find((each) => each.name === 's') as never, 3)).toBeNull()
  expect(nearest('sub\\model.safetensors', ['other/model.ckpt'])).toBe('other/model.ckpt')
  expect(nearest('a', ['b'])).toBe('')
})

test('a list of values for another version of the node is seen', () => {
  const doc = start()
  const sampler = doc.nodes.get('3') as Node
  const def = defs.get('KSampler') as NodeDef
  const shifted = (name: string, value: Json): boolean => looksShifted({ ...sampler, values: { ...sampler.values, [name]: value } }, def)
  expect([shifted('steps', 'euler'), shifted('steps', '20'), shifted('steps', ''), shifted('steps', new RawNumber('8.0')), shifted('steps', null)]).toEqual([true, false, true, false, false])
  const listy = readUi({ nodes: [{ id: 1, type: 'Listy', pos: [0, 0], size: [1, 1], widgets_values: ['a', 8, 'yes'] }], links: [] }, defs)
  expect(looksShifted(listy.nodes.get('1') as Node, defs.get('Listy') as NodeDef)).toBe(true)
})

test('a problem that was told holds until its node changes', () => {
  const doc = start()
  const all = told(doc, defs, [{ node: '3', input: 'steps', code: 'server', params: {} }])
  const left = holding(doc, defs, all)
  expect(left).toHaveLength(1)
  expect(holding(moveNodes(doc, new Map([['3', [1, 2] as const]])), defs, all)).toBe(left)
  expect(holding(rename(doc, '3', 'mine'), defs, all)).toBe(left)
  for (const changed of [setValue(doc, '3', 'steps', 3), setValue(doc, '4', 'ckpt_name', 'other'), setMode(doc, ['6'], 4), removeLinks(doc, [[...doc.links.keys()][0] as string]), removeNodes(doc, new Set(['3']))]) expect(holding(changed, defs, all), 'its cause has gone').toEqual([])
  expect(holding(setValue(doc, '9', 'filename_prefix', 'x'), defs, all)).toHaveLength(1)
  expect(holding(doc, defs, told(undefined, defs, [{ node: '3', input: '', code: 'failed', params: {} }]))).toEqual([])
})

test('small edits: sizes, colours, names, frames', () => {
  const doc = addGroup(start(), 'g', [0, 0, 1, 1], '#888')
  expect(removeGroup(doc, 0).groups).toEqual([])
  expect(resizeNode(doc, 'none', [1, 1])).toBe(doc)
  expect(resizeNode(doc, '3', [10, 20], [5, 6]).nodes.get('3')).toMatchObject({ size: [10, 20], pos: [5, 6] })
  expect(setColor(doc, ['3'], '#111', '#222').nodes.get('3')?.raw).toMatchObject({ color: '#111', bgcolor: '#222' })
  expect('title' in (rename(rename(doc, '3', 'x'), '3', '').nodes.get('3')?.raw ?? {})).toBe(false)
  expect(setValue(doc, '3', controlOf('seed'), doc.nodes.get('3')?.values[controlOf('seed')] as Json)).toBe(doc)
})

test('history: limits, names, maps', () => {
  let history = begin(0)
  expect(undo(history)).toBe(history)
  expect(redo(history)).toBe(history)
  expect(commit(history, 0, 'same')).toBe(history)
  for (let step = 1; step <= 600; step++) history = commit(history, step, `s${step}`)
  expect(history.past).toHaveLength(500)
  const mapped = mapHistory(undo(history), (value) => value * 2)
  expect([mapped.present, mapped.future[0]?.after, mapped.past[0]?.before]).toEqual([1198, 1200, 200])
  const typed = commit(commit(begin('a'), 'ab', 'type', 'field', 0), 'abc', 'type', 'field', 900)
  expect(typed.past).toHaveLength(1)
  expect(commit(typed, 'abcd', 'type', 'field', 2000).past).toHaveLength(2)
})

test('weights and words', () => {
  expect(reweigh('a cat', 2, 5, 0.05).text).toBe('a (cat:1.05)')
  expect(reweigh('a cat ', 2, 6, 0.1).text).toBe('a (cat:1.1) ')
  expect(reweigh('(one) two', 6, 6, 0.05).text).toBe('(one) (two:1.05)')
  expect(reweigh('(cat:1.1) dog', 10, 13, -0.05).text).toBe('(cat:1.1) (dog:0.95)')
  expect(fittingNames(['b', 'a'], '')).toEqual(['a', 'b'])
})

test('what only shows another node is named after it; odd links are dropped', () => {
  expect(shownBy(previewIdOf('3'))).toBe('3')
  expect(shownBy('3')).toBe('3')
  const file: JsonObject = { nodes: [{ id: 1, type: 'VAEDecode', pos: [0, 0], size: [1, 1], inputs: [{ name: 'samples', type: 'LATENT', link: 1 }, { name: 'vae', type: 'VAE', link: 9 }] }, { id: 2, type: 'Unheard', mode: 4, pos: [0, 0], size: [1, 1], inputs: [{ name: 'a', type: 'X', link: null }], outputs: [] }, { id: 3, type: 'PrimitiveNode', pos: [0, 0], size: [1, 1] }], links: [[1, 2, 0, 1, 0, 'LATENT']] }
  expect(toApi(readUi(file, defs), defs)['1']?.inputs).toEqual({})
  const any: JsonObject = { nodes: [{ id: 1, type: 'Takes', pos: [0, 0], size: [1, 1], inputs: [{ name: 'x', type: '*', link: 1 }] }, { id: 2, type: 'VAEEncode', mode: 4, pos: [0, 0], size: [1, 1], inputs: [{ name: 'pixels', type: 'IMAGE', link: 2 }], outputs: [] }, { id: 5, type: 'LoadImage', pos: [0, 0], size: [1, 1] }], links: [[1, 2, 0, 1, 0, '*'], [2, 5, 0, 2, 0, 'IMAGE']] }
  expect(toApi(readUi(any, defs), defs)['1']?.inputs).toEqual({ x: ['5', 0] })
})

test('values by name, and of old editors; frames that say nothing', () => {
  const file: JsonObject = {
    nodes: [
      { id: 1, type: 'Listy', pos: [0, 0], size: [1, 1], flags: { pinned: true }, widgets_values: { value: 'b', ratio: 2 } },
      { id: 2, type: 'Listy', pos: [0, 0], size: [1, 1], widgets_values: ['a', 8, 5, true] },
    ],
    links: [],
    groups: [{}],
  }
  const doc = readUi(file, defs)
  expect(doc.groups[0]?.box).toEqual([0, 0, 200, 120])
  expect(flagOf(doc.nodes.get('1') as Node, 'pinned')).toBe(true)
  expect(flagOf(doc.nodes.get('2') as Node, 'pinned')).toBe(false)
  expect(toApi(doc, defs)['2']?.inputs).toEqual({ value: 'a', ratio: 8, on: true })
  const changed = writeUi(setValue(setValue(doc, '1', 'ratio', 3), '2', 'on', false), defs) as unknown as { nodes: { widgets_values: unknown }[] }
  expect(changed.nodes.map((node) => node.widgets_values)).toEqual([{ value: 'b', ratio: 3 }, ['a', 8, 5, false]])
  const wrapped = readApi({ 1: { class_type: 'Listy', inputs: { value: { __value__: ['a', 'b'] }, ratio: 1 } } }, defs, () => [1, 1], (made) => made)
  expect(toApi(wrapped, defs)['1']?.inputs.value).toEqual({ __value__: ['a', 'b'] })
  const fresh = freshValues(readDefinitions({ Pick: { input: { required: { choice: [['a'], { control_after_generate: true }], picture: [['x.png'], { image_upload: true }], seed: ['INT', {}] } }, output: [] } }).get('Pick') as NodeDef)
  expect(fresh.layout).toHaveLength(7)
  expect(Object.values(fresh.values)).toEqual(['a', 'fixed', '', 'x.png', 'image', 0, 'randomize'])
})

test('of several texts each is resolved by itself, and alternatives are no divider', () => {
  const several = { __sweep__: ['{red|blue} cat', 'a dog', 3], axis: 'what' }
  const made = resolveTexts(setValue(readUi(object(exampleText()), defs), '6', 'text', several), defs, () => 0.9, new Date(2026, 0, 9))
  expect(made.nodes.get('6')?.values.text).toEqual({ __sweep__: ['blue cat', 'a dog', 3], axis: 'what' })
  const counted = { __seeds__: { from: 1, count: 2 } }
  expect(resolveTexts(setValue(made, '6', 'text', counted), defs, () => 0, new Date()).nodes.get('6')?.values.text).toEqual(counted)
  const text = inputOf(defs.get('CLIPTextEncode'), 'text') as InputDef
  expect(valuesOf('{red|blue} cat | a dog', text)).toEqual(['{red|blue} cat', 'a dog'])
  expect(valuesOf('a {b | c', text)).toEqual(['a {b', 'c'])
})
