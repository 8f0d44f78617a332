import { expect, test } from 'vitest'
import { writeJson, type Json } from '../src/io/json'
import { readUi, writeUi } from '../src/io/ui'
import { copyNodes, pasteNodes, readNodes } from '../src/io/clipboard'
import { canConnect, fittingInputs } from '../src/model/connect'
import { inputsOf, linkInto, type Document, type Node } from '../src/model/document'
import { addGroup, addNode, connect, moveNodes, removeLinks, removeNodes, rename, setFlag, setMode, setValue } from '../src/model/edit'
import { begin, commit, redo, undo } from '../src/model/history'
import { definitions, exampleText, numbers, object } from './helpers'

const defs = definitions()
const start = (): Document => readUi(object(exampleText()), defs)
const text = (doc: Document): string => writeJson(writeUi(doc, defs))
const nodeOf = (doc: Document, id: string): Node => doc.nodes.get(id) as Node

function randomEdit(doc: Document, random: () => number): Document {
  const ids = [...doc.nodes.keys()]
  const pick = (): string => ids[Math.floor(random() * ids.length)] ?? ''
  const types = [...defs.values()]
  switch (Math.floor(random() * 10)) {
    case 0:
      return addNode(doc, types[Math.floor(random() * types.length)] as never, [random() * 900, 10], [200, 100]).doc
    case 1:
      return removeNodes(doc, new Set([pick()]))
    case 2:
      return moveNodes(doc, new Map([[pick(), [Math.floor(random() * 99), 5] as const]]))
    case 3:
      return removeLinks(doc, [[...doc.links.keys()][0] ?? ''])
    case 4:
      return setMode(doc, [pick(), pick()], random() < 0.5 ? 4 : 2)
    case 5:
      return rename(doc, pick(), `n${random()}`)
    case 6:
      return setFlag(doc, [pick()], 'collapsed', random() < 0.5)
    case 7:
      return addGroup(doc, 'g', [0, 0, 10, 10], '#888')
    case 8:
      return setValue(doc, pick(), 'seed', Math.floor(random() * 1e9))
    default: {
      const from = pick()
      const target = doc.nodes.get(pick())
      const input = target && fittingInputs(doc, defs, from, 0, target)[0]
      const type = defs.get(doc.nodes.get(from)?.type ?? '')?.outputs[0]?.type ?? '*'
      return target && input ? connect(doc, { from, fromSlot: 0, to: target.id, input: input.name }, defs.get(target.type), type) : doc
    }
  }
}

/** Every link is at both its ends, and nothing else is. */
function isSound(doc: Document): boolean {
  for (const link of doc.links.values()) {
    const target = doc.nodes.get(link.to)
    if (!target || !doc.nodes.has(link.from) || inputsOf(target)[link.toSlot]?.link !== link.id) return false
  }
  for (const node of doc.nodes.values()) for (const slot of inputsOf(node)) if (slot.link !== null && !doc.links.has(slot.link)) return false
  return true
}

test('1,000 lists of 50 edits: undo all is the start, redo all is the end', () => {
  for (let seed = 1; seed <= 1000; seed++) {
    const random = numbers(seed)
    const first = start()
    let history = begin(first)
    for (let at = 0; at < 50; at++) history = commit(history, randomEdit(history.present, random), 'x')
    const last = history.present
    if (seed % 50 === 0) expect(isSound(last)).toBe(true)
    const steps = history.past.length
    for (let at = 0; at < steps; at++) history = undo(history)
    expect(history.present).toBe(first)
    for (let at = 0; at < steps; at++) history = redo(history)
    expect(history.present).toBe(last)
  }
  expect(text(start())).toBe(writeJson(object(exampleText())))
}, 120_000)

test('steps of one key soon after each other are one; a new step ends redo', () => {
  let history = begin('a')
  history = commit(history, 'ab', 'type', 'k', 0)
  history = commit(history, 'abc', 'type', 'k', 900)
  expect(history.past).toHaveLength(1)
  history = commit(history, 'abcd', 'type', 'k', 2500)
  expect(history.past).toHaveLength(2)
  history = undo(undo(history))
  expect(history.present).toBe('a')
  expect(undo(history)).toBe(history)
  history = commit(redo(history), 'x', 'other')
  expect(history.future).toEqual([])
  expect(redo(history)).toBe(history)
})

test('a connection replaces the one that was there, in one step', () => {
  const doc = connect(start(), { from: '7', fromSlot: 0, to: '3', input: 'positive' }, defs.get('KSampler'), 'CONDITIONING')
  expect(linkInto(doc, nodeOf(doc, '3'), 'positive')?.from).toBe('7')
  expect(doc.links.size).toBe(9)
  expect(isSound(doc)).toBe(true)
})

test('a widget gets a socket when something is connected to it', () => {
  const added = addNode(start(), defs.get('Listy') as never, [0, 0], [10, 10])
  const doc = connect(added.doc, { from: added.id, fromSlot: 0, to: '3', input: 'steps' }, defs.get('KSampler'), 'INT')
  expect(inputsOf(nodeOf(doc, '3')).at(-1)).toMatchObject({ name: 'steps', type: 'INT', widget: 'steps' })
  expect(isSound(doc)).toBe(true)
})

test('refusals say why', () => {
  const doc = start()
  expect(canConnect(doc, defs, { from: '4', fromSlot: 2, to: '3', input: 'model' })).toMatchObject({ ok: false, reason: 'types', given: 'VAE', wanted: 'MODEL' })
  expect(canConnect(doc, defs, { from: '3', fromSlot: 0, to: '3', input: 'latent_image' })).toMatchObject({ reason: 'self' })
  expect(canConnect(doc, defs, { from: '3', fromSlot: 0, to: '99', input: 'x' })).toMatchObject({ reason: 'gone' })
  const chained = addNode(doc, defs.get('VAEEncode') as never, [0, 0], [10, 10])
  const looped = connect(chained.doc, { from: '8', fromSlot: 0, to: chained.id, input: 'pixels' }, defs.get('VAEEncode'), 'IMAGE')
  expect(canConnect(looped, defs, { from: chained.id, fromSlot: 0, to: '3', input: 'latent_image' })).toMatchObject({ reason: 'cycle' })
})

test('copied nodes keep their inner links; with incoming links also those from outside', () => {
  const doc = start()
  const file = readNodes(copyNodes(doc, new Set(['3', '8']), defs))
  if (!file) throw new Error('nothing copied')
  const alone = pasteNodes(doc, file, defs, null, false)
  expect(alone.ids.size).toBe(2)
  expect(alone.doc.links.size).toBe(10)
  const linked = pasteNodes(doc, file, defs, [500, 500], true)
  expect(linked.doc.links.size).toBe(15)
  expect(isSound(alone.doc) && isSound(linked.doc)).toBe(true)
  const sampler = [...linked.doc.nodes.values()].find((node) => linked.ids.has(node.id) && node.type === 'KSampler')
  expect(sampler?.values.steps as Json).toBe(20)
  expect(readNodes('{"nodes":[]}')).toBeNull()
  expect(readNodes('words')).toBeNull()
})
