import { expect, test } from 'vitest'
import { copyNodes, pasteNodes, readNodes } from '../src/io/clipboard'
import { toApi } from '../src/io/api'
import { writeJson, type Json } from '../src/io/json'
import { readUi, writeUi } from '../src/io/ui'
import { controlOf } from '../src/io/widgets'
import { BUILTIN } from '../src/model/builtin'
import { completed, fittingNames, wordAt } from '../src/model/completion'
import { addGroup, addNode, connect, moveNodes, setValue } from '../src/model/edit'
import { membersOf, moveGroup } from '../src/model/groups'
import { align, arrange, distribute } from '../src/model/layout'
import { readMarkdown, readSpans } from '../src/model/markdown'
import { bindPrimitives, defIn } from '../src/model/primitive'
import { addReroute, reroutesOf } from '../src/model/reroutes'
import { nextSeeds, seedsOf } from '../src/model/seed'
import type { Document, Node, Point } from '../src/model/document'
import { definitions, exampleText, fixture, object } from './helpers'

const defs = definitions()
const start = (): Document => readUi(object(exampleText()), defs)
const again = (doc: Document): Document => readUi(object(writeJson(writeUi(doc, defs))), defs)
const posOf = (doc: Document, id: string): Point => doc.nodes.get(id)?.pos as Point
const sizeOf = (id: string): Point => [id === '3' ? 300 : 100, 50]

test('a frame takes along what lies in it: nodes, points, frames', () => {
  const placed = moveNodes(start(), new Map([['3', [10, 40] as const], ['4', [500, 500] as const]]))
  const framed = addGroup(addGroup(addReroute(placed, '9', [50, 60], 0), 'outer', [0, 0, 400, 400], '#888'), 'inner', [20, 20, 100, 100], '#888')
  const members = membersOf(framed, 0, sizeOf)
  expect(members.nodes.has('3')).toBe(true)
  expect(members.nodes.has('4')).toBe(false)
  expect([...members.dots, ...members.groups]).toEqual(['1', 1])
  const moved = moveGroup(framed, 0, [7, 9], members)
  expect(posOf(moved, '3')).toEqual([17, 49])
  expect(moved.groups.map((group) => group.box.slice(0, 2))).toEqual([[7, 9], [27, 29]])
  expect(reroutesOf(moved).get('1')?.pos).toEqual([57, 69])
  expect(membersOf(framed, 9, sizeOf).nodes.size).toBe(0)
  const stale = { nodes: new Set([...members.nodes, 'gone']), dots: new Set(['1', 'gone']), groups: new Set([1, 9]) }
  expect(moveGroup(framed, 0, [7, 9], stale)).toEqual(moved)
  expect(membersOf(addReroute(framed, '9', [900, 900], 1), 0, sizeOf).dots.size).toBe(1)
})

test('nodes are aligned and spread', () => {
  const doc = moveNodes(start(), new Map([['3', [0, 0] as const], ['4', [500, 100] as const], ['5', [350, 300] as const]]))
  const three = ['3', '4', '5']
  const where = (made: Document): Point[] => three.map((id) => posOf(made, id))
  expect(where(align(doc, three, 'left', sizeOf)).map(([x]) => x)).toEqual([0, 0, 0])
  expect(where(align(doc, three, 'right', sizeOf)).map(([x]) => x)).toEqual([300, 500, 500])
  expect(where(align(doc, three, 'top', sizeOf)).map(([, y]) => y)).toEqual([0, 0, 0])
  expect(where(align(doc, three, 'bottom', sizeOf)).map(([, y]) => y)).toEqual([300, 300, 300])
  expect(where(distribute(doc, three, true, sizeOf)).map(([x]) => x)).toEqual([0, 500, 350])
  expect(where(distribute(doc, three, false, sizeOf)).map(([, y]) => y)).toEqual([0, 150, 300])
  expect(align(doc, ['3', 'gone'], 'left', sizeOf)).toBe(doc)
  expect(distribute(doc, ['3', '4'], true, sizeOf)).toBe(doc)
  expect(arrange(doc, sizeOf, new Set())).toBe(doc)
  const placed = arrange(doc, sizeOf, new Set(['4', '3']))
  expect(posOf(placed, '5')).toEqual([350, 300])
  expect(posOf(placed, '4')[0]).toBeLessThan(posOf(placed, '3')[0])
})

test('a primitive takes over the field that it is linked to, and gives its value', () => {
  const added = addNode(start(), BUILTIN.get('PrimitiveNode') as never, [0, 0], [200, 60])
  expect(defIn(added.doc, added.doc.nodes.get(added.id) as Node, defs)).toBeUndefined()
  expect(bindPrimitives(added.doc, defs)).toBe(added.doc)
  const joined = bindPrimitives(connect(added.doc, { from: added.id, fromSlot: 0, to: '3', input: 'steps' }, defs.get('KSampler'), 'INT'), defs)
  const node = joined.nodes.get(added.id) as Node
  expect(node.values.value).toBe(20)
  expect(defIn(joined, node, defs)?.inputs[0]).toMatchObject({ name: 'value', widget: 'int', control: 'seed' })
  const set = setValue(setValue(joined, added.id, 'value', 7), added.id, controlOf('value'), 'increment')
  expect(toApi(again(set), defs)['3']?.inputs.steps).toBe(7)
  expect(nextSeeds(again(set), defs, seedsOf(set, defs), () => 0).nodes.get(added.id)?.values.value).toBe(8)
  const text = writeJson(writeUi(again(set), defs))
  expect(text).toBe(writeJson(writeUi(set, defs)))
  expect(text).toContain('[7,"increment"]')
  const combo = bindPrimitives(connect(added.doc, { from: added.id, fromSlot: 0, to: '3', input: 'sampler_name' }, defs.get('KSampler'), 'COMBO'), defs)
  expect(defIn(combo, combo.nodes.get(added.id) as Node, defs)?.inputs[0]?.control).toBe('combo')
  const words = bindPrimitives(connect(added.doc, { from: added.id, fromSlot: 0, to: '6', input: 'text' }, defs.get('CLIPTextEncode'), 'STRING'), defs)
  expect(words.nodes.get(added.id)?.values).toEqual({ value: 'three black cats in a meadow at dusk' })
})

test('notes keep their words', () => {
  const added = addNode(start(), BUILTIN.get('MarkdownNote') as never, [0, 0], [200, 60])
  expect(added.doc.nodes.get(added.id)).toMatchObject({ layout: null, raw: { widgets_values: [''] } })
  expect(Object.keys(toApi(added.doc, defs))).not.toContain(added.id)
})

test('frames are copied with what is in them', () => {
  const doc = addGroup(start(), 'g', [5, 5, 50, 50], '#123')
  const file = readNodes(copyNodes(doc, new Set(['3']), defs, [0, 9]))
  if (!file) throw new Error('nothing copied')
  const pasted = pasteNodes(doc, file, defs, null, false)
  expect(pasted.doc.groups.map((group) => [group.title, ...group.box])).toEqual([['g', 5, 5, 50, 50], ['g', 37, 37, 50, 50]])
})

test('copied instances bring their subgraph along, once', () => {
  const doc = readUi(object(fixture('subgraph.json')), defs)
  const file = readNodes(copyNodes(doc, new Set(['12']), defs))
  if (!file) throw new Error('nothing copied')
  const into = pasteNodes(start(), file, defs, [0, 0], false).doc
  expect(Object.keys(toApi(into, defs)).filter((id) => id.includes(':'))).toHaveLength(1)
  const twice = pasteNodes(into, file, defs, [0, 0], false).doc
  expect(((twice.file.definitions as { subgraphs: Json[] }).subgraphs)).toHaveLength(1)
})

test('embedding: is completed where it is typed', () => {
  expect(wordAt('a cat, embedding:ba', 19)).toBe('ba')
  expect(wordAt('(embedding:x:1.2)', 12)).toBe('x')
  expect(wordAt('myembedding:x', 13)).toBeNull()
  expect(wordAt('embedding:x y', 13)).toBeNull()
  expect(fittingNames(['sub/bad', 'badhands', 'good', 'bad'], 'bad')).toEqual(['badhands', 'sub/bad'])
  expect(completed('a, embedding:ba', 15, 'badhands')).toEqual({ from: 13, text: 'badhands' })
  expect(completed('a', 1, 'x')).toEqual({ from: 1, text: 'x' })
})

test('Markdown is read, HTML is not', () => {
  const blocks = readMarkdown('# One *two*\n\n- a\n- b\n1. c\n2) d\n> said\n> so\n---\n```\ncode **x**\n```\nplain\nlines <b>x</b>\n```\nopen')
  expect(blocks.map((block) => block.kind)).toEqual(['heading', 'list', 'list', 'quote', 'rule', 'code', 'text', 'code'])
  expect(blocks[0]).toEqual({ kind: 'heading', level: 1, spans: [{ kind: 'text', text: 'One ' }, { kind: 'em', spans: [{ kind: 'text', text: 'two' }] }] })
  expect(blocks[5]).toEqual({ kind: 'code', text: 'code **x**' })
  expect(blocks[6]).toEqual({ kind: 'text', spans: [{ kind: 'text', text: 'plain\nlines <b>x</b>' }] })
  expect(readSpans('**a** `b` __c__ _d_ [e](https://x.y) https://z.w [f](javascript:x)').map((span) => span.kind)).toEqual(['strong', 'text', 'code', 'text', 'strong', 'text', 'em', 'text', 'link', 'text', 'link', 'text', 'text'])
  expect(readMarkdown('#no heading')).toEqual([{ kind: 'text', spans: [{ kind: 'text', text: '#no heading' }] }])
})

test('arranging keeps frames around what is in them, frames in frames too, and overlaps nothing', () => {
  const spread = moveNodes(start(), new Map([['6', [0, 100] as const], ['7', [0, 300] as const], ['4', [900, 900] as const], ['3', [1500, 100] as const], ['5', [1500, 300] as const], ['8', [2500, 40] as const], ['9', [2500, 200] as const]]))
  const framed = addGroup(addGroup(addGroup(spread, 'empty', [5000, 0, 90, 70], '#888'), 'outer', [-40, 0, 400, 500], '#888'), 'inner', [-20, 20, 200, 150], '#888')
  const done = arrange(framed, sizeOf)
  const inside = (frame: number): string[] => [...membersOf(done, frame, sizeOf).nodes].sort()
  expect([inside(0), inside(1), inside(2)]).toEqual([[], ['6', '7'], ['6']])
  expect([...membersOf(done, 1, sizeOf).groups]).toEqual([2])
  expect(done.groups[0]?.box.slice(2)).toEqual([90, 70])
  const boxes = [...done.nodes.values()].filter((node) => !inside(1).includes(node.id)).map((node) => [node.pos[0], node.pos[1] - 30, ...sizeOf(node.id)] as const)
  const all = [...boxes, done.groups[0]?.box as never, done.groups[1]?.box as never]
  for (const [i, a] of all.entries()) for (const b of all.slice(i + 1)) expect(a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3]).toBe(false)
  expect(posOf(done, '3')[0]).toBeGreaterThan(done.groups[1]?.box[0] ?? Infinity)
  const some = arrange(framed, sizeOf, new Set(['3', '5', '6']))
  expect(some.groups[1]).toBe(framed.groups[1]) // not all of it was chosen
})
