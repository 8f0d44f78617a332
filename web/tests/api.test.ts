import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { isApi, toApi } from '../src/io/api'
import { parseJson, writeJson, type Json, type JsonObject } from '../src/io/json'
import { readApi } from '../src/io/readApi'
import { readUi, writeUi } from '../src/io/ui'
import { standardSize } from '../src/graph/size'
import { readDefinitions } from '../src/model/definitions'
import { arrange } from '../src/model/layout'
import { setMode } from '../src/model/edit'
import type { Document } from '../src/model/document'
import { definitions, exampleText, fixture, object } from './helpers'

const defs = definitions()
const api = (file: JsonObject): Record<string, { inputs: Record<string, Json>; class_type: string }> => toApi(readUi(file, defs), defs)
const plain = (value: unknown): unknown => JSON.parse(writeJson(value as Json))

/** A small file: nodes as [id, type, mode, inputs {name: link}, values], links as usual. */
function file(nodes: [number, string, number, Record<string, number | null>, Json[]][], links: Json[][]): JsonObject {
  return {
    nodes: nodes.map(([id, type, mode, inputs, values]) => {
      const def = defs.get(type)
      return {
        id,
        type,
        mode,
        pos: [0, 0],
        size: [1, 1],
        inputs: Object.entries(inputs).map(([name, link]) => {
          const input = def?.inputs.find((each) => each.name === name)
          return { name, type: input?.type ?? '*', link, ...(input?.widget ? { widget: { name } } : {}) }
        }),
        outputs: [],
        widgets_values: values,
      }
    }),
    links,
    version: 0.4,
  }
}

test('the default document is the example of the command line', () => {
  const ours = plain(toApi(readUi(object(exampleText()), defs), defs))
  const theirs = JSON.parse(readFileSync(fileURLToPath(new URL('../../workflows/text_to_image.json', import.meta.url)), 'utf-8')) as Record<string, { _meta?: unknown; inputs: unknown; class_type: string }>
  for (const [id, node] of Object.entries(theirs)) expect({ ...(ours as Record<string, object>)[id], _meta: 0 }, id).toEqual({ ...node, _meta: 0 })
})

test('big seeds and decimals reach the server as they are', () => {
  const text = writeJson(toApi(readUi(object(fixture('odd_0.4.json')), defs), defs) as unknown as Json)
  expect(text).toContain('"seed":18446744073709551615')
  expect(text).toContain('"cfg":8.0')
})

test('bypass goes on with the input of the same number', () => {
  const made = api(file([[4, 'CheckpointLoaderSimple', 0, {}, ['other.safetensors']], [10, 'LoraLoader', 4, { model: 1, clip: 2 }, ['a.safetensors', 1, 1]], [3, 'KSampler', 0, { model: 3 }, []], [6, 'CLIPTextEncode', 0, { clip: 4 }, ['x']]], [[1, 4, 0, 10, 0, 'MODEL'], [2, 4, 1, 10, 1, 'CLIP'], [3, 10, 0, 3, 0, 'MODEL'], [4, 10, 1, 6, 0, 'CLIP']]))
  expect(made['10']).toBeUndefined()
  expect(made['3']?.inputs.model).toEqual(['4', 0])
  expect(made['6']?.inputs.clip).toEqual(['4', 1])
})

test('bypass without an input of that type drops the link', () => {
  const made = api(file([[5, 'EmptyLatentImage', 0, {}, [64, 64, 1]], [8, 'VAEDecode', 4, { samples: 1 }, []], [9, 'SaveImage', 0, { images: 2 }, ['a']]], [[1, 5, 0, 8, 0, 'LATENT'], [2, 8, 0, 9, 0, 'IMAGE']]))
  expect(made['9']?.inputs).toEqual({ filename_prefix: 'a' })
})

test('second outputs of a bypassed node take the second input', () => {
  const made = api(file([[6, 'CLIPTextEncode', 0, {}, ['p']], [7, 'CLIPTextEncode', 0, {}, ['n']], [11, 'ControlNetApplyAdvanced', 4, { positive: 1, negative: 2 }, [1]], [3, 'KSampler', 0, { positive: 3, negative: 4 }, []]], [[1, 6, 0, 11, 0, 'CONDITIONING'], [2, 7, 0, 11, 1, 'CONDITIONING'], [3, 11, 0, 3, 0, 'CONDITIONING'], [4, 11, 1, 3, 1, 'CONDITIONING']]))
  expect(made['3']?.inputs.positive).toEqual(['6', 0])
  expect(made['3']?.inputs.negative).toEqual(['7', 0])
})

test('muted nodes go, and the inputs they fed', () => {
  const made = api(file([[5, 'EmptyLatentImage', 2, {}, [64, 64, 1]], [8, 'VAEDecode', 0, { samples: 1 }, []]], [[1, 5, 0, 8, 0, 'LATENT']]))
  expect(made['5']).toBeUndefined()
  expect(made['8']?.inputs).toEqual({})
})

test('reroutes vanish, primitives give their value, lists are wrapped', () => {
  const made = api(file([[5, 'EmptyLatentImage', 0, { width: 4 }, [64, 64, 1]], [20, 'Reroute', 0, { '': 1 }, []], [21, 'Reroute', 0, { '': 2 }, []], [8, 'VAEDecode', 0, { samples: 3 }, []], [30, 'PrimitiveNode', 0, {}, [512, 'fixed']], [40, 'Listy', 0, {}, [['a', 'b'], 8, true]], [50, 'Note', 0, {}, ['hello']]], [[1, 5, 0, 20, 0, '*'], [2, 20, 0, 21, 0, '*'], [3, 21, 0, 8, 0, 'LATENT'], [4, 30, 0, 5, 0, 'INT']]))
  expect(made['8']?.inputs.samples).toEqual(['5', 0])
  expect(made['5']?.inputs.width).toBe(512)
  expect(made['40']?.inputs.value).toEqual({ __value__: ['a', 'b'] })
  expect(Object.keys(made).sort()).toEqual(['40', '5', '8'])
})

test('subgraphs are unfolded, promoted values win', () => {
  const made = api(object(fixture('subgraph.json')))
  expect(made['12:6']?.inputs).toEqual({ text: 'promoted words', clip: ['4', 1] })
  expect(made['3']?.inputs.positive).toEqual(['12:6', 0])
  const bypassed = toApi(setMode(readUi(object(fixture('subgraph.json')), defs), ['12'], 4), defs)
  expect(bypassed['12:6']).toBeUndefined()
  expect(bypassed['3']?.inputs.positive).toBeUndefined()
})

test('a circle of reroutes ends', () => {
  const made = api(file([[20, 'Reroute', 0, { '': 2 }, []], [21, 'Reroute', 0, { '': 1 }, []], [8, 'VAEDecode', 0, { samples: 3 }, []]], [[1, 20, 0, 21, 0, '*'], [2, 21, 0, 20, 0, '*'], [3, 21, 0, 8, 0, 'LATENT']]))
  expect(made['8']?.inputs).toEqual({})
})

test('API files open, and go out again as they came', () => {
  const text = '{"4":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"other.safetensors"},"_meta":{"title":"M"}},"3":{"class_type":"KSampler","inputs":{"seed":18446744073709551615,"steps":20,"cfg":8.0,"sampler_name":"euler","scheduler":"normal","denoise":1,"model":["4",0]}},"x:1":{"class_type":"Unheard","inputs":{"a":1,"from":["3",0]}}}'
  const given = parseJson(text)
  expect(isApi(given)).toBe(true)
  const lay = (doc: Document): Document => arrange(doc, () => [240, 100])
  const doc = readApi(given as JsonObject, defs, (type) => standardSize(defs.get(type)), lay)
  expect(doc.nodes.get('4')?.raw.title).toBe('M')
  const again = toApi(doc, defs)
  expect(writeJson(again['3']?.inputs as Json)).toContain('18446744073709551615')
  expect(again['3']?.inputs.model).toEqual(['4', 0])
  expect(again['x:1']?.inputs.from).toEqual(['3', 0])
  const stored = readUi(parseJson(writeJson(writeUi(doc, defs))) as JsonObject, defs)
  expect(writeJson(toApi(stored, defs) as unknown as Json)).toBe(writeJson(again as unknown as Json))
  expect(isApi({})).toBe(false)
  expect(isApi(object(exampleText()))).toBe(false)
})

const CORPUS = fileURLToPath(new URL('../../tests/data/editor_files/', import.meta.url))
const corpusTypes = readDefinitions(parseJson(readFileSync(join(CORPUS, 'types.json'), 'utf-8')))

test('every file of the corpus gives the graph that the server makes of it', () => {
  const names = readdirSync(CORPUS).filter((name) => name !== 'types.json')
  expect(names.length).toBeGreaterThan(90)
  for (const name of names) {
    const { file, api: wanted } = object(readFileSync(join(CORPUS, name), 'utf-8')) as { file: JsonObject; api: JsonObject }
    expect(plain(toApi(readUi(file, corpusTypes), corpusTypes)), name).toEqual(plain(wanted))
  }
})

test('nodes of packs that only pass on are passed by, though nobody knows their types', () => {
  const node = (id: number, type: string, link: number | null, values: Json[], more: JsonObject = {}): JsonObject => ({ id, type, mode: 0, inputs: [{ name: 'value', type: '*', link, widget: { name: 'value' } }], outputs: [{ name: '*', type: '*' }], widgets_values: values, ...more })
  const nodes = [node(1, 'Unheard', null, [5, 'fixed']), node(2, 'SetNode', 1, ['kept']), node(3, 'GetNode', null, ['kept']), node(4, 'Reroute (rgthree)', 2, []), node(5, 'Unheard', 3, [true]), node(6, 'GetNode', null, ['other']), node(7, 'Unheard', 4, [1, 2]), node(8, 'Unheard', null, ['alone'])]
  const links = [[1, 1, 0, 2, 0, '*'], [2, 3, 0, 4, 0, '*'], [3, 4, 0, 5, 0, '*'], [4, 6, 0, 7, 0, '*']]
  expect(plain(toApi(readUi({ nodes, links, version: 0.4 }, defs), defs))).toEqual({
    1: { class_type: 'Unheard', inputs: { value: 5 }, _meta: { title: 'Unheard' } },
    5: { class_type: 'Unheard', inputs: { value: ['1', 0] }, _meta: { title: 'Unheard' } },
    7: { class_type: 'Unheard', inputs: {}, _meta: { title: 'Unheard' } },
  })
  const named = node(1, 'Unheard', null, [], { widgets_values_named: { value: 3, control_after_generate: 'fixed' } })
  const asObject = node(2, 'Unheard', 1, [], { widgets_values: { other: 'x' } })
  expect(plain(toApi(readUi({ nodes: [named, asObject], links: [[1, 1, 0, 2, 0, '*']], version: 0.4 }, defs), defs))).toMatchObject({ 1: { inputs: { value: 3 } }, 2: { inputs: { other: 'x', value: ['1', 0] } } })
})

test('a primitive inside a subgraph that was never given a value holds that of the field it feeds', () => {
  const inside = (values: Json[]): JsonObject => ({
    nodes: [{ id: 1, type: 'sub', mode: 0, inputs: [], outputs: [{ name: 'o', type: 'IMAGE' }], widgets_values: [] }, { id: 2, type: 'Prefix', mode: 0, inputs: [{ name: 'images', type: 'IMAGE', link: 1 }], outputs: [], widgets_values: ['p'] }],
    links: [[1, 1, 0, 2, 0, 'IMAGE']],
    definitions: { subgraphs: [{ id: 'sub', name: 'Sub', inputs: [], outputs: [{ name: 'o', type: 'IMAGE' }], nodes: [{ id: 7, type: 'PrimitiveNode', inputs: [], outputs: [{ name: 'x', type: 'STRING' }], widgets_values: values }, { id: 8, type: 'Prefix', mode: 0, inputs: [{ name: 'filename_prefix', type: 'STRING', link: 1, widget: { name: 'filename_prefix' } }], outputs: [], widgets_values: ['own'] }], links: [{ id: 1, origin_id: 7, origin_slot: 0, target_id: 8, target_slot: 0, type: 'STRING' }] }] },
    version: 0.4,
  })
  const prefix = (values: Json[]): unknown => toApi(readUi(inside(values), corpusTypes), corpusTypes)['1:8']?.inputs
  expect(prefix(['given'])).toEqual({ filename_prefix: 'given' })
  expect(prefix([])).toEqual({ filename_prefix: 'own' })
})
