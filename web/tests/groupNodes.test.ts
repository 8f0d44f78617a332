import { expect, test } from 'vitest'
import { toApi } from '../src/io/api'
import { copyNodes, pasteNodes, readNodes } from '../src/io/clipboard'
import { parseJson, writeJson, type Json, type JsonObject } from '../src/io/json'
import { bindDocument, EMPTY_FILE, readUi, writeUi } from '../src/io/ui'
import { moveNodes, setValue } from '../src/model/edit'
import { subgraphsOf, type Document } from '../src/model/document'
import { known } from '../src/model/library'
import { nextSeeds, resolveTexts, seedsOf } from '../src/model/seed'
import { unpackSubgraph } from '../src/model/subgraphEdit'
import { openSubgraph, putSubgraph } from '../src/model/subgraphs'
import { validate } from '../src/model/validate'
import { definitions, groupNodes } from './helpers'

const defs = definitions()
const TYPE = 'workflow>Draw'
const plain = (): Document => readUi(groupNodes().plain?.file as JsonObject, defs)
const text = (doc: Document): string => writeJson(writeUi(doc, defs))
const again = (doc: Document): Document => readUi(parseJson(text(doc)) as JsonObject, defs)
const api = (doc: Document): Record<string, { class_type: string; inputs: Record<string, Json> }> => toApi(doc, defs)

test('group nodes are sent as the official editor sends them, and their files come back byte for byte', () => {
  for (const [name, { file, prompt }] of Object.entries(groupNodes())) {
    const doc = readUi(file, defs)
    expect(parseJson(writeJson(api(doc) as never)), name).toEqual(prompt)
    expect(text(doc), name).toBe(writeJson(file))
    const late = bindDocument(readUi(file, new Map()), defs)
    expect(text(late), name).toBe(writeJson(file))
    expect(parseJson(writeJson(api(late) as never)), name).toEqual(prompt)
    expect(bindDocument(late, defs)).toBe(late)
    const moved = moveNodes(doc, new Map([['3', [1, 2] as const]]))
    expect(text(moved), name).toBe(writeJson(file).replace(/("id":3,"type":"[^"]+","pos":)[^\]]+\]/, '$1[1,2]'))
  }
})

test('its fields are those of the nodes inside, with their limits, control words and problems', () => {
  const doc = plain()
  const face = known(defs, doc.file).get(TYPE)
  expect(face?.title).toBe('Draw')
  expect(face?.inputs.find((input) => input.name === 'seed')).toMatchObject({ widget: 'int', control: 'seed' })
  expect(validate(setValue(doc, '3', 'steps', 0), defs)).toMatchObject([{ node: '3', input: 'steps', code: 'too_small' }])
  const next = nextSeeds(doc, defs, seedsOf(doc, defs), () => 0.5)
  expect(api(next)['3:2']?.inputs.seed).not.toBe(11)
  expect(text(next)).toContain('"groupNodes"')
  expect(writeUi(next, defs).definitions).toBeUndefined()
  const worded = setValue(doc, '3', 'text', '{a|b}')
  expect(api(resolveTexts(worded, defs, () => 0.9, new Date()))['3:0']?.inputs.text).toBe('b')
})

test('one that is edited inside is a subgraph from then on', () => {
  const doc = plain()
  const inner = openSubgraph(doc, TYPE, defs) as Document
  expect(text(putSubgraph(doc, TYPE, setValue(inner, '2', 'denoise', 0.9), defs))).toContain('"groupNodes":{}')
  const edited = again(putSubgraph(doc, TYPE, moveNodes(inner, new Map([['0', [5, 5] as const]])), defs))
  expect(subgraphsOf(writeUi(edited, defs)).get(TYPE)?.name).toBe('Draw')
  expect(text(edited)).not.toContain('"control"')
  expect(parseJson(writeJson(api(edited) as never))).toEqual(groupNodes().plain?.prompt)
  const unpacked = unpackSubgraph(doc, '3', defs)
  expect(Object.values(api(unpacked?.doc as Document)).map((entry) => entry.class_type).sort()).toEqual(Object.values(api(doc)).map((entry) => entry.class_type).sort())
})

test('copies take along what they are made of', () => {
  const copied = copyNodes(plain(), new Set(['3']), defs)
  const there = pasteNodes(readUi(EMPTY_FILE, defs), readNodes(copied) as JsonObject, defs, null, false).doc
  expect(Object.keys(api(again(there)))).toEqual(['1:0', '1:1', '1:2'])
  expect(writeUi(there, defs).definitions).toBeUndefined()
  const twice = pasteNodes(plain(), readNodes(copied) as JsonObject, defs, null, true).doc
  expect(api(again(twice))['6:2']?.inputs).toEqual({ ...api(twice)['3:2']?.inputs, positive: ['6:0', 0], negative: ['6:1', 0] })
})

test('odd definitions: links to nowhere, words and choices by primitives, knots, real subgraphs beside', () => {
  const file = groupNodes().primitive?.file as unknown as { nodes: Record<string, Json>[]; extra: { groupNodes: { Draw: { nodes: JsonObject[]; links: Json[]; external: Json } } } }
  const odd = JSON.parse(JSON.stringify(file)) as typeof file & { definitions: Json }
  const { Draw } = odd.extra.groupNodes
  const primitive = { ...(Draw.nodes[3] as JsonObject), index: 4 }
  const sampler = Draw.nodes[2] as { inputs: Json[] }
  sampler.inputs.push({ name: 'scheduler', type: 'COMBO', link: null, widget: { name: 'scheduler' } }, { name: 'none', link: null, widget: { name: 'none' } })
  Draw.nodes.push(primitive, { type: 'Reroute', inputs: [{ name: '' }], outputs: [{}] }, { type: 'Note', title: 'Said' }, { type: 'PrimitiveNode', index: 9 })
  Draw.links.push([4, 0, 2, 5, 0, 'COMBO'], [77, 0, 2, 0, 0, 'X'], [0, 9, 2, 0, 0, 'MODEL'], null, 3, [0, 0, 2, 99])
  Draw.external = [null, [0, 0, 'CONDITIONING']]
  odd.definitions = { subgraphs: [{ id: 'real', name: 'Real', nodes: [], links: [] }], more: 1 }
  odd.nodes.push({ ...(odd.nodes[2] as Record<string, Json>), id: 30, type: 'workflow/Draw' })
  const doc = readUi(odd as unknown as JsonObject, defs)
  const names = known(defs, doc.file).get(TYPE)?.inputs.map((input) => [input.name, input.control])
  expect(names).toEqual([['clip', 'none'], ['CLIPTextEncode clip', 'none'], ['latent_image', 'none'], ['*', 'none'], ['text', 'none'], ['CLIPTextEncode text', 'none'], ['seed', 'seed'], ['cfg', 'none'], ['sampler_name', 'none'], ['denoise', 'none'], ['value', 'seed'], ['PrimitiveNode value', 'combo']])
  expect(text(doc)).toBe(writeJson(odd as unknown as JsonObject))
  const inner = openSubgraph(doc, 'workflow/Draw', defs) as Document
  const edited = putSubgraph(doc, 'workflow/Draw', moveNodes(inner, new Map([['0', [5, 5] as const]])), defs)
  const saved = writeUi(edited, defs) as unknown as { definitions: { subgraphs: { id: string }[]; more: number }; extra: { groupNodes: object } }
  expect(saved.definitions.subgraphs.map((each) => each.id)).toEqual(['real', 'workflow/Draw'])
  expect([saved.definitions.more, Object.keys(saved.extra.groupNodes)]).toEqual([1, ['Draw']])
  expect(bindDocument(edited, definitions()).nodes.size).toBe(doc.nodes.size)
})
