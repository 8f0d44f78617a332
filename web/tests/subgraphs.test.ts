import { expect, test } from 'vitest'
import { toApi } from '../src/io/api'
import { writeJson, type Json } from '../src/io/json'
import { readUi, writeUi } from '../src/io/ui'
import { connect, moveNodes, rename, setMode, setRaw, setValue, withNode } from '../src/model/edit'
import { inputsOf, subgraphsOf, type Document } from '../src/model/document'
import { INPUT_NODE, known, OUTPUT_NODE } from '../src/model/library'
import { proxyFields } from '../src/model/proxies'
import { nextSeeds, seedsOf } from '../src/model/seed'
import { addEnd, dropUnused, makeSubgraph, moveEnd, removeEnd, renameEnd, unpackSubgraph } from '../src/model/subgraphEdit'
import { isEnd, nodeAt, openSubgraph, putSubgraph } from '../src/model/subgraphs'
import { validate } from '../src/model/validate'
import { definitions, exampleText, fixture, object } from './helpers'

const defs = definitions()
const example = (): Document => readUi(object(exampleText()), defs)
const text = (doc: Document): string => writeJson(writeUi(doc, defs))
const again = (doc: Document): Document => readUi(object(text(doc)), defs)
const api = (doc: Document): Record<string, { inputs: Record<string, Json> }> => toApi(doc, defs)
const sizeOf = (): readonly [number, number] => [200, 100]

let counter = 0
const newId = (): string => `id-${++counter}`

/** The example with its prompts and its sampler in a subgraph. */
function packed(): { doc: Document; id: string; type: string } {
  const made = makeSubgraph(example(), new Set(['3', '6', '7']), 'Draw', defs, sizeOf, newId)
  if (!made) throw new Error('nothing made')
  return { ...made, type: made.doc.nodes.get(made.id)?.type ?? '' }
}
const inside = (doc: Document, type: string): Document => openSubgraph(doc, type, defs) as Document

/** What is sent, with ids that do not tell where a node was. */
const shape = (doc: Document): unknown => {
  const sent = api(doc)
  const bare = (id: string): string => id.split(':').at(-1) ?? id
  return Object.entries(sent).map(([id, entry]) => [bare(id), Object.fromEntries(Object.entries(entry.inputs).map(([name, value]) => [name, Array.isArray(value) ? [bare(String(value[0])), value[1]] : value]))]).sort()
}

test('a subgraph made of nodes sends what they sent', () => {
  const { doc, id } = packed()
  expect(doc.nodes.size).toBe(5)
  expect(inputsOf(doc.nodes.get(id) as never).map((slot) => slot.name)).toEqual(['model', 'clip', 'latent_image'])
  expect(Object.keys(api(doc)).filter((key) => key.includes(':')).sort()).toEqual([`${id}:3`, `${id}:6`, `${id}:7`])
  expect(shape(doc)).toEqual(shape(example()))
  expect(shape(again(doc))).toEqual(shape(example()))
  expect(validate(doc, defs)).toEqual([])
  expect(makeSubgraph(doc, new Set(['99']), '', defs, sizeOf, newId)).toBeNull()
})

test('unpacking gives the same graph, and the unused definition goes', () => {
  const { doc, id, type } = packed()
  const done = unpackSubgraph(doc, id, defs)
  if (!done) throw new Error('not unpacked')
  const names = [...done.ids]
  const bare = dropUnused(done.doc, [type])
  expect(subgraphsOf(bare.file).size).toBe(0)
  expect(dropUnused(doc, [type])).toBe(doc)
  expect(bare.nodes.size).toBe(7)
  expect(Object.values(api(bare)).map((entry) => writeJson(Object.values(entry.inputs).filter((value) => !Array.isArray(value)))).sort()).toEqual(Object.values(api(example())).map((entry) => writeJson(Object.values(entry.inputs).filter((value) => !Array.isArray(value)))).sort())
  expect(names).toHaveLength(3)
  expect(validate(bare, defs)).toEqual([])
  expect(unpackSubgraph(doc, '9', defs)).toBeNull()
})

test('the inside is a document; an edit there is one in the file, and nothing else changes', () => {
  const { doc, id, type } = packed()
  const inner = inside(doc, type)
  expect(openSubgraph(doc, type, defs)).toBe(inner)
  expect(inner.nodes.has(INPUT_NODE) && inner.nodes.has(OUTPUT_NODE)).toBe(true)
  const edited = putSubgraph(doc, type, setValue(rename(inner, '6', 'Words'), '3', 'steps', 5), defs)
  expect(api(edited)[`${id}:3`]?.inputs.steps).toBe(5)
  expect(nodeAt(edited, `${id}:6`, defs)?.raw.title).toBe('Words')
  expect(nodeAt(edited, '9:1', defs)).toBeUndefined()
  expect(edited.nodes).toBe(doc.nodes)
  expect(putSubgraph(doc, 'none', inner, defs)).toBe(doc)
  const moved = putSubgraph(doc, type, moveNodes(inner, new Map([[INPUT_NODE, [7, 8] as const]])), defs)
  expect(subgraphsOf(moved.file).get(type)?.raw.inputNode).toMatchObject({ bounding: [7, -22, 140, expect.anything()] })
})

test('opening the inside and putting it back unchanged changes no byte', () => {
  const doc = readUi(object(fixture('subgraph.json')), defs)
  for (const type of subgraphsOf(doc.file).keys()) expect(text(putSubgraph(doc, type, inside(doc, type), defs))).toBe(text(doc))
  const { doc: made, type } = packed()
  const back = again(made)
  expect(text(putSubgraph(back, type, inside(back, type), defs))).toBe(text(made))
})

test('a field let out is a field of the instance, whose value wins', () => {
  const { doc, id, type } = packed()
  const inner = inside(doc, type)
  const made = addEnd(inner, INPUT_NODE, 'steps', 'INT', newId)
  const joined = connect(made.doc, { from: INPUT_NODE, fromSlot: made.slot, to: '3', input: 'steps' }, defs.get('KSampler'), 'INT')
  const out = putSubgraph(doc, type, joined, defs)
  const face = known(defs, out.file).get(type)
  expect(face?.inputs.at(-1)).toMatchObject({ name: 'steps', widget: 'int', options: { default: 20 } })
  expect(api(out)[`${id}:3`]?.inputs.steps).toBe(20)
  const set = setValue(out, id, 'steps', 9)
  expect(api(set)[`${id}:3`]?.inputs.steps).toBe(9)
  expect(api(again(set))[`${id}:3`]?.inputs.steps).toBe(9)
  const unpacked = unpackSubgraph(set, id, defs)
  expect([...(unpacked?.doc.nodes.values() ?? [])].find((node) => node.type === 'KSampler')?.values.steps).toBe(9)
  // a second field before it in the list: the value stays with its name
  const first = addEnd(inside(set, type), INPUT_NODE, 'text', 'STRING', newId)
  const more = putSubgraph(set, type, connect(first.doc, { from: INPUT_NODE, fromSlot: first.slot, to: '6', input: 'text' }, defs.get('CLIPTextEncode'), 'STRING'), defs)
  expect(api(again(more))[`${id}:3`]?.inputs.steps).toBe(9)
  const gone = putSubgraph(more, type, removeEnd(inside(more, type), INPUT_NODE, made.slot), defs)
  expect(api(again(gone))[`${id}:3`]?.inputs.steps).toBe(20)
  expect(api(gone)[`${id}:6`]?.inputs.text).toBe('three black cats in a meadow at dusk')
})

test('sockets that go take their links along, in every instance; the others keep theirs', () => {
  const { doc, id, type } = packed()
  const gone = putSubgraph(doc, type, removeEnd(inside(doc, type), INPUT_NODE, 1), defs)
  expect(api(gone)[`${id}:6`]?.inputs.clip).toBeUndefined()
  expect(api(gone)[`${id}:3`]?.inputs.model).toEqual(['4', 0])
  expect(api(again(gone))[`${id}:3`]?.inputs.latent_image).toEqual(['5', 0])
  const two = addEnd(inside(doc, type), OUTPUT_NODE, 'CONDITIONING', 'CONDITIONING', newId)
  const wide = putSubgraph(doc, type, connect(two.doc, { from: '6', fromSlot: 0, to: OUTPUT_NODE, input: two.name }, undefined, 'CONDITIONING'), defs)
  const used = connect(wide, { from: id, fromSlot: 1, to: '9', input: 'images' }, defs.get('SaveImage'), 'CONDITIONING')
  expect(api(used)['9']?.inputs.images).toEqual([`${id}:6`, 0])
  const narrow = putSubgraph(used, type, removeEnd(inside(used, type), OUTPUT_NODE, 0), defs)
  expect(api(narrow)['8']?.inputs.samples).toBeUndefined()
  expect(api(again(narrow))['9']?.inputs.images).toEqual([`${id}:6`, 0])
  expect(known(defs, putSubgraph(doc, type, renameEnd(inside(doc, type), INPUT_NODE, 1, 'words'), defs).file).get(type)?.inputs[1]?.name).toBe('clip')
})

test('subgraphs in subgraphs: made, changed, taken apart', () => {
  const { doc, id, type } = packed()
  const made = makeSubgraph(inside(doc, type), new Set(['6', '7']), 'Words', defs, sizeOf, newId)
  if (!made) throw new Error('nothing made')
  const nested = putSubgraph(doc, type, made.doc, defs)
  expect(subgraphsOf(nested.file).size).toBe(2)
  expect(Object.keys(api(nested)).sort()).toEqual(['4', '5', '8', '9', `${id}:3`, `${id}:${made.id}:6`, `${id}:${made.id}:7`].sort())
  expect(shape(again(nested))).toEqual(shape(example()))
  const words = made.doc.nodes.get(made.id)?.type ?? ''
  const let1 = addEnd(inside(nested, words), INPUT_NODE, 'text', 'STRING', newId)
  const open1 = putSubgraph(nested, words, connect(let1.doc, { from: INPUT_NODE, fromSlot: let1.slot, to: '6', input: 'text' }, defs.get('CLIPTextEncode'), 'STRING'), defs)
  const let2 = addEnd(inside(open1, type), INPUT_NODE, 'text', 'STRING', newId)
  const open2 = putSubgraph(open1, type, connect(let2.doc, { from: INPUT_NODE, fromSlot: let2.slot, to: made.id, input: 'text' }, known(defs, open1.file).get(words), 'STRING'), defs)
  expect(known(defs, open2.file).get(type)?.inputs.at(-1)?.widget).toBe('text')
  expect(api(again(setValue(open2, id, 'text', 'a green star')))[`${id}:${made.id}:6`]?.inputs.text).toBe('a green star')
  const gone = putSubgraph(open2, words, removeEnd(inside(open2, words), INPUT_NODE, let1.slot), defs)
  expect(inputsOf(nodeAt(gone, `${id}:${made.id}`, defs) as never).map((slot) => slot.name)).toEqual(['clip'])
})

test('seeds inside change when they have been run with; problems inside are named as the server names them', () => {
  const { doc, id, type } = packed()
  const next = nextSeeds(doc, defs, seedsOf(doc, defs), () => 0.5)
  expect(api(next)[`${id}:3`]?.inputs.seed).not.toBe(42)
  const broken = putSubgraph(doc, type, setValue(inside(doc, type), '3', 'steps', 0), defs)
  expect(validate(broken, defs)).toMatchObject([{ node: `${id}:3`, input: 'steps', code: 'too_small' }])
  expect(validate(setMode(broken, [id], 4), defs).map((problem) => problem.node)).toEqual([])
})

test('a subgraph that holds itself ends', () => {
  const file = object(fixture('subgraph.json'))
  const loop = JSON.parse(JSON.stringify(file)) as { definitions: { subgraphs: { id: string; nodes: unknown[] }[] } }
  const first = loop.definitions.subgraphs[0] as { id: string; nodes: unknown[] }
  first.nodes.push({ id: 77, type: first.id, pos: [0, 0], size: [1, 1] })
  const doc = readUi(object(JSON.stringify(loop)), defs)
  expect(Object.keys(api(doc)).length).toBeGreaterThan(0)
  expect(validate(doc, defs).length).toBeLessThan(1000)
})

test('an instance shows the fields of inner nodes that its file names', () => {
  const { doc: made, id, type } = packed()
  const instance = made.nodes.get(id) as never
  const asked = [['3', 'steps'], ['6', 'text'], ['7', 'text'], ['3', 'model'], ['99', 'text'], ['6', '$$canvas-image-preview'], 'damaged']
  const doc = withNode(made, setRaw(instance, { properties: { proxyWidgets: asked } }))
  const fields = (now: Document): [string, string, Json | undefined][] => proxyFields(now, now.nodes.get(id) as never, defs).map(({ node, input, label }) => [node.id, label, node.values[input.name]])
  const words = inside(doc, type).nodes.get('6')?.values.text
  expect(fields(doc).map(([at]) => at)).toEqual([`${id}:3`, `${id}:6`, `${id}:7`])
  expect(fields(doc)[1]?.[2]).toBe(words)
  expect(fields(doc).map(([, label]) => label)).toEqual(['steps', 'Prompt: text', 'Negative prompt: text'])
  const edited = putSubgraph(doc, type, setValue(inside(doc, type), '3', 'steps', 7), defs)
  expect(fields(edited)[0]).toEqual([`${id}:3`, 'steps', 7])
  expect(fields(again(edited))).toEqual(fields(edited))
  expect(proxyFields(made, instance, defs)).toEqual([])
})

test('sockets of a subgraph change places, and everything stays linked as it was', () => {
  const { doc, id, type } = packed()
  const inner = inside(doc, type)
  const named = (now: Document, list: 'inputs' | 'outputs'): unknown[] => ((subgraphsOf(now.file).get(type)?.raw[list] ?? []) as { name: string }[]).map((slot) => slot.name)
  const before = named(doc, 'inputs')
  const moved = putSubgraph(doc, type, moveEnd(inner, INPUT_NODE, 1, -1), defs)
  expect(named(moved, 'inputs')).toEqual([before[1], before[0], ...before.slice(2)])
  expect(shape(moved)).toEqual(shape(doc))
  expect(shape(again(moved))).toEqual(shape(doc))
  expect(moveEnd(inner, INPUT_NODE, 0, -1)).toBe(inner)
  const made = addEnd(inner, OUTPUT_NODE, 'words', 'CONDITIONING', newId)
  const wired = connect(made.doc, { from: '6', fromSlot: 0, to: OUTPUT_NODE, input: made.name }, undefined, 'CONDITIONING')
  const two = putSubgraph(doc, type, wired, defs)
  const swapped = putSubgraph(two, type, moveEnd(inside(two, type), OUTPUT_NODE, made.slot, -1), defs)
  expect(named(swapped, 'outputs')).toEqual([...named(two, 'outputs')].reverse())
  expect(shape(swapped)).toEqual(shape(two))
  expect(swapped.nodes.get(id)?.raw.outputs).toHaveLength(2)
})

test('an end keeps its list of links as the file has it until its links change', () => {
  for (const stale of ['[5,5]', '[99]', '[]']) {
    const doc = readUi(object(fixture('subgraph.json').replace(/"linkIds": ?\[[^\]]*\]/, `"linkIds": ${stale}`)), defs)
    const [id] = subgraphsOf(doc.file).keys()
    const inner = inside(doc, id as string)
    expect(text(putSubgraph(doc, id as string, inner, defs))).toBe(text(doc))
    const moved = { ...inner, nodes: new Map([...inner.nodes].map(([name, node]) => [name, isEnd(name) ? { ...node, pos: [node.pos[0] + 0.1, node.pos[1]] as const } : node])) }
    expect(text(putSubgraph(doc, id as string, moved, defs))).toContain(`"linkIds":${stale}`)
  }
})

test('a second edit inside keeps the sockets that the first one made', () => {
  const { doc, id, type } = packed()
  const end = addEnd(inside(doc, type), INPUT_NODE, 'seed', 'INT', newId)
  const joined = connect(end.doc, { from: INPUT_NODE, fromSlot: end.slot, to: '3', input: 'seed' }, defs.get('KSampler'), 'INT')
  const once = putSubgraph(doc, type, joined, defs)
  const twice = putSubgraph(once, type, setValue(inside(once, type), '3', 'steps', 7), defs)
  expect(known(defs, twice.file).get(type)?.inputs.map((input) => input.name)).toContain('seed')
  expect(api(again(setValue(twice, id, 'seed', 99)))[`${id}:3`]?.inputs).toMatchObject({ seed: 99, steps: 7 })
})
