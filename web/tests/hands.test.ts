import { expect, test } from 'vitest'
import { copyNodes, pasteNodes, readNodes } from '../src/io/clipboard'
import { writeJson, type JsonObject } from '../src/io/json'
import { readUi, writeUi } from '../src/io/ui'
import { controlOf } from '../src/io/widgets'
import { BUILTIN } from '../src/model/builtin'
import type { Document } from '../src/model/document'
import { addNode, cascade, connect, setValue } from '../src/model/edit'
import { INPUT_NODE, known } from '../src/model/library'
import { fixSeed, nextSeeds, seedsOf } from '../src/model/seed'
import { addEnd, makeSubgraph } from '../src/model/subgraphEdit'
import { nodeAt, openSubgraph, putSubgraph } from '../src/model/subgraphs'
import { difference, reweigh } from '../src/model/weight'
import { cameraOf, dropCamera, keepCamera, openCamera, readCameras, withCamera, writeCameras } from '../src/state/cameras'
import { definitions, exampleText, object } from './helpers'

const defs = definitions()
const start = (): Document => readUi(object(exampleText()), defs)

test('copies and notes never hide what is there', () => {
  const note = BUILTIN.get('Note') as never
  let doc = start()
  const places: (readonly [number, number])[] = []
  for (let at = 0; at < 3; at++) {
    const added = addNode(doc, note, [-500, -500], [200, 60])
    places.push(added.doc.nodes.get(added.id)?.pos as [number, number])
    doc = added.doc
  }
  expect(places).toEqual([[-500, -500], [-468, -468], [-436, -436]])
  const file = readNodes(copyNodes(doc, new Set(['3', '8']), defs)) as JsonObject
  const once = pasteNodes(doc, file, defs, [2000, 2000], false)
  const twice = pasteNodes(once.doc, file, defs, [2000, 2000], false)
  const corner = (made: { doc: Document; ids: Set<string> }): number => Math.min(...[...made.ids].map((id) => made.doc.nodes.get(id)?.pos[0] ?? 0))
  expect([corner(once), corner(twice)]).toEqual([2000, 2032])
  expect(cascade(doc, [[9000, 9000]])).toBe(0)
})

/** The example with its sampler in a subgraph, whose seed is a field of the instance. */
function letOut(): { doc: Document; id: string } {
  let counter = 0
  const newId = (): string => `id-${++counter}`
  const made = makeSubgraph(start(), new Set(['3']), 'Draw', defs, () => [200, 100], newId)
  if (!made) throw new Error('nothing made')
  const type = made.doc.nodes.get(made.id)?.type ?? ''
  const inner = openSubgraph(made.doc, type, defs) as Document
  const end = addEnd(inner, INPUT_NODE, 'seed', 'INT', newId)
  const joined = connect(end.doc, { from: INPUT_NODE, fromSlot: end.slot, to: '3', input: 'seed' }, known(defs, inner.file).get('KSampler'), 'INT')
  return { doc: putSubgraph(made.doc, type, joined, defs), id: made.id }
}

test('a seed that was let out of a subgraph changes after a run as it says inside', () => {
  const { doc, id } = letOut()
  const input = known(defs, doc.file).get(doc.nodes.get(id)?.type ?? '')?.inputs.find((each) => each.name === 'seed')
  expect(input?.within).toMatchObject({ node: '3', input: { name: 'seed', control: 'seed' } })
  const type = doc.nodes.get(id)?.type ?? ''
  const word = (next: string): Document => putSubgraph(doc, type, setValue(openSubgraph(doc, type, defs) as Document, '3', controlOf('seed'), next), defs)
  const seedIn = (made: Document): unknown => made.nodes.get(id)?.values.seed
  const up = setValue(word('increment'), id, 'seed', 7)
  expect(seedIn(nextSeeds(up, defs, seedsOf(up, defs), () => 0))).toBe(8)
  expect(seedIn(nextSeeds(up, defs, new Map(), () => 0))).toBe(7)
  const fixed = setValue(word('fixed'), id, 'seed', 7)
  expect(nextSeeds(fixed, defs, seedsOf(fixed, defs), () => 0)).toBe(fixed)
  expect(nodeAt(up, `${id}:3`, defs)?.values[controlOf('seed')]).toBe('increment')
  const kept = fixSeed(up, defs, { node: `${id}:3`, type: 'KSampler', input: 'seed', value: 3 }) as Document
  expect([seedIn(kept), nodeAt(kept, `${id}:3`, defs)?.values[controlOf('seed')]]).toEqual([3, 'fixed'])
  // the file stays as other editors read it: one value of the instance for each field, no words
  expect(writeUi(up, defs).nodes).toContainEqual(expect.objectContaining({ type, widgets_values: [7] }))
})

test('a weight replaces no more than it has to', () => {
  const text = 'three black cats'
  const made = reweigh(text, 16, 16, 0.05)
  expect(made).toMatchObject({ text: 'three black (cats:1.05)', moved: 1 })
  expect(difference('a (cat:1.05) b', 'a (cat:1.1) b')).toEqual([9, 11, '1'])
  expect(difference('aa', 'aaa')).toEqual([2, 2, 'a'])
  expect(difference('same', 'same')).toEqual([4, 4, ''])
  expect(reweigh('(cat:1.05)', 3, 3, -0.05)).toMatchObject({ text: 'cat', moved: -1 })
})

test('where a workflow is looked at from is read from its file, and written only if somebody moved', () => {
  const file = object('{"nodes":[],"extra":{"ds":{"scale":0.5,"offset":[10,-20],"more":1}}}')
  openCamera('one', file)
  expect(cameraOf('one', '')).toEqual({ x: 5, y: -10, zoom: 0.5 })
  expect(withCamera('one', file)).toBe(file)
  keepCamera('one', '', { x: 30, y: 60, zoom: 2 })
  expect(writeJson(withCamera('one', file))).toBe('{"nodes":[],"extra":{"ds":{"scale":2,"offset":[15,30],"more":1}}}')
  expect(writeJson(withCamera('one', object('{"nodes":[]}')))).toBe('{"nodes":[],"extra":{"ds":{"scale":2,"offset":[15,30]}}}')
  keepCamera('one', '12:', { x: 1, y: 2, zoom: 1 })
  const kept = writeCameras('one')
  dropCamera('one')
  expect(cameraOf('one', '')).toBeUndefined()
  readCameras('one', kept)
  expect(cameraOf('one', '12:')).toEqual({ x: 1, y: 2, zoom: 1 })
  expect(withCamera('one', file)).not.toBe(file)
  readCameras('two', object('{"":[0,0,1,0,0,1],"bad":[1,"x"],"none":[0,0,0,0,0,0]}'))
  expect(withCamera('two', file)).toBe(file)
  expect([cameraOf('two', 'bad'), cameraOf('two', 'none')]).toEqual([undefined, undefined])
  for (const ds of ['{"scale":0,"offset":[1,2]}', '{"scale":1,"offset":["a",2]}', '{"scale":1}', '3']) openCamera('three', object(`{"extra":{"ds":${ds}}}`))
  expect(cameraOf('three', '')).toBeUndefined()
})
