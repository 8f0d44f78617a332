import { expect, test } from 'vitest'
import { RawNumber } from '../src/io/json'
import { readPicture } from '../src/io/pictures'
import { readUi } from '../src/io/ui'
import { controlOf } from '../src/io/widgets'
import { inputOf, type NodeDef } from '../src/model/definitions'
import { connect, setMode, setValue } from '../src/model/edit'
import { searchNodes } from '../src/model/search'
import { choose, nextSeeds, resolveTexts, seedKey, seedsOf } from '../src/model/seed'
import { fits } from '../src/model/types'
import { checkValue, nearest, validate } from '../src/model/validate'
import { reweigh } from '../src/model/weight'
import { en } from '../src/i18n/en'
import { zh } from '../src/i18n/zh'
import { definitions, exampleText, object } from './helpers'

const defs = definitions()
const start = () => readUi(object(exampleText()), defs)
const sampler = defs.get('KSampler') as NodeDef

test('types fit by name, star and comma list', () => {
  expect(fits('INT', 'INT,FLOAT')).toBe(true)
  expect(fits('int', 'INT')).toBe(true)
  expect(fits('*', 'MODEL')).toBe(true)
  expect(fits('MODEL', 'CLIP')).toBe(false)
})

test('problems are found at their inputs', () => {
  expect(validate(start(), defs)).toEqual([])
  const broken = setValue(setValue(start(), '4', 'ckpt_name', 'darkroom_world_256.safetensors'), '3', 'steps', 0)
  expect(validate(broken, defs)).toEqual([
    { node: '4', input: 'ckpt_name', code: 'not_in_list', params: { input: 'ckpt_name', value: 'darkroom_world_256.safetensors', near: 'darkroom-world-256.safetensors' } },
    { node: '3', input: 'steps', code: 'too_small', params: { input: 'steps', limit: '1' } },
  ])
  expect(validate(setMode(broken, ['3', '4'], 2), defs)).toEqual([])
  const seed = inputOf(sampler, 'seed') as never
  expect(checkValue(seed, new RawNumber('18446744073709551615'))).toBeNull()
  expect(checkValue(seed, new RawNumber('18446744073709551616'))?.code).toBe('too_big')
  expect(checkValue(inputOf(sampler, 'cfg') as never, 'words')?.code).toBe('not_a_number')
  expect(nearest('abc', ['xyz'])).toBe('')
})

test('a missing link is a problem, an unknown type too', () => {
  const doc = start()
  const without = { ...doc, links: new Map() }
  expect(validate(without, defs).filter((problem) => problem.node === '8').map((problem) => problem.input)).toEqual(['samples', 'vae'])
  expect(validate(doc, new Map([['KSampler', sampler]])).filter((problem) => problem.code === 'unknown_type')).toHaveLength(6)
})

test('a seed changes only after it has been run with', () => {
  const doc = start()
  expect(nextSeeds(doc, defs, new Map(), () => 0.5)).toBe(doc)
  const used = seedsOf(doc, defs)
  const next = nextSeeds(doc, defs, used, () => 0.5)
  expect(next.nodes.get('3')?.values.seed).not.toBe(42)
  expect(nextSeeds(next, defs, used, () => 0.1)).toBe(next)
  const word = (to: string) => nextSeeds(setValue(doc, '3', controlOf('seed'), to), defs, used, () => 0.5).nodes.get('3')?.values.seed
  expect(word('fixed')).toBe(42)
  expect(word('increment')).toBe(43)
  expect(word('decrement')).toBe(41)
  const top = setValue(setValue(doc, '3', 'seed', new RawNumber('18446744073709551615')), '3', controlOf('seed'), 'decrement')
  expect(String(nextSeeds(top, defs, new Map([[seedKey('', '3', 'seed'), '18446744073709551615']]), () => 0).nodes.get('3')?.values.seed)).toBe('18446744073709551614')
})

test('alternatives, comments and file names', () => {
  expect(choose('a {b|c} d', () => 0.9)).toBe('a c d')
  expect(choose('{a|{b|c}} \\{x\\|y\\}', () => 0.99)).toBe('c {x|y}')
  expect(choose('one /* two */ three', () => 0)).toBe('one  three')
  const doc = setValue(start(), '9', 'filename_prefix', '%date:yyyy-MM-dd%/%KSampler.seed%_%nothing%')
  expect(resolveTexts(doc, defs, () => 0, new Date(2026, 0, 9)).nodes.get('9')?.values.filename_prefix).toBe('2026-01-09/42_%nothing%')
})

test('search finds by title, class, initials, types and the other language', () => {
  const find = (query: string, filter = {}) => searchNodes(defs, query, filter, (def) => (def.type === 'KSampler' ? 'K 采样器' : '')).map((hit) => hit.def.type)
  expect(find('ksam')[0]).toBe('KSampler')
  expect(find('采样')[0]).toBe('KSampler')
  expect(find('vd')[0]).toBe('VAEDecode')
  expect(find('out:latent').sort()).toEqual(['EmptyLatentImage', 'KSampler', 'VAEEncode'])
  expect(find('', { takes: 'VAE' }).sort()).toEqual(['VAEDecode', 'VAEEncode'])
  expect(find('', { gives: 'MODEL' }).sort()).toEqual(['CheckpointLoaderSimple', 'LoraLoader'])
  expect(find('zzzz')).toEqual([])
})

test('a title in one word comes before longer names that begin so', () => {
  const saving = defs.get('SaveImage') as NodeDef
  const socket = { ...saving, type: 'SaveImageWebsocket', title: 'SaveImageWebsocket' }
  const types = new Map([[socket.type, socket], ...defs])
  expect(searchNodes(types, 'savei', {}, () => '').map((hit) => hit.def.type).slice(0, 2)).toEqual(['SaveImage', 'SaveImageWebsocket'])
})

test('weights of words', () => {
  expect(reweigh('a red cat', 6, 6, 0.05).text).toBe('a red (cat:1.05)')
  expect(reweigh('a red (cat:1.05)', 9, 9, -0.05).text).toBe('a red cat')
  expect(reweigh('(cat:1.05)', 2, 2, 0.05).text).toBe('(cat:1.1)')
  expect(reweigh('  ', 1, 1, 0.05).text).toBe('  ')
})

test('pictures give back their workflow', async () => {
  const bytes: number[] = [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]
  const chunk = (type: string, data: Uint8Array): void => {
    bytes.push(...[24, 16, 8, 0].map((by) => (data.length >> by) & 255), ...new TextEncoder().encode(type), ...data, 0, 0, 0, 0)
  }
  chunk('tEXt', new TextEncoder().encode('prompt\0{"3":{}}'))
  chunk('iTXt', new TextEncoder().encode('workflow\0\0\0\0\0{"nodes":["中"]}'))
  chunk('tEXt', new TextEncoder().encode('Software\0x'))
  chunk('IEND', new Uint8Array())
  expect(await readPicture(new Uint8Array(bytes))).toEqual({ prompt: '{"3":{}}', workflow: '{"nodes":["中"]}' })
  expect(await readPicture(new Uint8Array([1, 2, 3]))).toEqual({})
})

test('both languages say the same things', () => {
  expect(Object.keys(zh)).toEqual(Object.keys(en))
  const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort()
  for (const key of Object.keys(en) as (keyof typeof en)[]) expect(holes(zh[key]), key).toEqual(holes(en[key]))
})

test('connecting keeps the definition out of it where it is unknown', () => {
  const doc = connect(start(), { from: '5', fromSlot: 0, to: '8', input: 'samples' }, undefined, 'LATENT')
  expect(doc.links.size).toBe(9)
})
