import { expect, test } from 'vitest'
import { readUi } from '../src/io/ui'
import { controlOf } from '../src/io/widgets'
import type { Document } from '../src/model/document'
import { setValue } from '../src/model/edit'
import { fixSeed, nextSeeds, putSeeds, seedsOf } from '../src/model/seed'
import { makeSubgraph } from '../src/model/subgraphEdit'
import { nodeAt } from '../src/model/subgraphs'
import { definitions, exampleText, object } from './helpers'

const defs = definitions()
const start = (word = 'increment'): Document => setValue(readUi(object(exampleText()), defs), '3', controlOf('seed'), word)
const seedIn = (doc: Document): unknown => doc.nodes.get('3')?.values.seed

test('the next run goes on from the one before, whatever is on the screen', () => {
  const shown = start()
  const first = nextSeeds(shown, defs, new Map(), () => 0)
  expect(first).toBe(shown) // a seed is used once before it changes
  const second = nextSeeds(putSeeds(shown, defs, seedsOf(first, defs), seedsOf(shown, defs)), defs, seedsOf(first, defs), () => 0)
  const third = nextSeeds(putSeeds(shown, defs, seedsOf(second, defs), seedsOf(shown, defs)), defs, seedsOf(second, defs), () => 0)
  expect([first, second, third].map(seedIn)).toEqual([42, 43, 44])
})

test('a seed that somebody typed, or that is to stay, is left alone', () => {
  const shown = start()
  const made = new Map([...seedsOf(shown, defs)].map(([key]) => [key, 99]))
  expect(seedIn(putSeeds(shown, defs, made, seedsOf(shown, defs)))).toBe(99)
  const typed = setValue(shown, '3', 'seed', 7)
  expect(putSeeds(typed, defs, made, seedsOf(shown, defs))).toBe(typed)
  const fixed = start('fixed')
  expect(putSeeds(fixed, defs, made, seedsOf(fixed, defs))).toBe(fixed)
})

test('the seed of a picture is kept where it is shown, inside a subgraph too', () => {
  const seed = { node: '3', type: 'KSampler', input: 'seed', value: 5 }
  const kept = fixSeed(start(), defs, seed)
  expect(kept?.nodes.get('3')?.values).toMatchObject({ seed: 5, [controlOf('seed')]: 'fixed' })
  expect(fixSeed(start(), defs, { ...seed, type: 'Other' })).toBeNull()
  expect(fixSeed(start(), defs, { ...seed, node: '9:3' })).toBeNull()
  let counter = 0
  const packed = makeSubgraph(start(), new Set(['3']), 'Draw', defs, () => [200, 100], () => `id-${++counter}`)
  if (!packed) throw new Error('nothing made')
  const inside = fixSeed(packed.doc, defs, { ...seed, node: `${packed.id}:3` })
  expect(inside && nodeAt(inside, `${packed.id}:3`, defs)?.values).toMatchObject({ seed: 5, [controlOf('seed')]: 'fixed' })
})
