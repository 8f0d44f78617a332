import { expect, test } from 'vitest'
import { readSentences, translated } from '../src/model/sentences'
import { explained, readTranslations, UNTRANSLATED } from '../src/model/translate'
import { definitions } from './helpers'

const defs = definitions()
const chinese = readTranslations({
  nodeDefs: { KSampler: { display_name: 'K 采样器', description: '去噪', inputs: { steps: { name: '步数', tooltip: '多少步' }, seed: {} }, outputs: { 0: { tooltip: '结果' } } } },
  nodeCategories: { sampling: '采样' },
})

test('explanations are in the other language, names stay what files hold', () => {
  const sampler = explained(defs, chinese).get('KSampler')
  expect(sampler?.description).toBe('去噪')
  expect(sampler?.inputs.find((input) => input.name === 'steps')?.tooltip).toBe('多少步')
  expect(sampler?.outputs[0]?.tooltip).toBe('结果')
  expect(sampler?.title).toBe(defs.get('KSampler')?.title)
  expect(explained(defs, chinese).get('VAEDecode')).toBe(defs.get('VAEDecode'))
})

test('names are there for showing and searching', () => {
  expect(chinese.nodes.get('KSampler')?.name).toBe('K 采样器')
  expect(chinese.inputs.get('steps')).toBe('步数')
  expect(chinese.inputs.has('seed')).toBe(false)
  expect(chinese.categories.get('sampling')).toBe('采样')
})

test('what is no answer is no translation', () => {
  for (const raw of [undefined, null, 3, [], { nodeDefs: 1, nodeCategories: [] }]) expect(readTranslations(raw).nodes.size).toBe(0)
  expect(explained(defs, UNTRANSLATED).get('KSampler')).toBe(defs.get('KSampler'))
})

test('sentences with places are translated, and what fills a place too', () => {
  const sentences = readSentences(new Map([
    ['{what}; most likely guidance of {scale} is too strong', '{what}；引导 {scale} 过强'],
    ['step {step} gave numbers (that are not finite)', '第 {step} 步得到非有限数'],
    ['{file} {what}', '{file}：{what}'],
    ['{name}: {what}', '{name}：{what}'],
    ['is truncated', '已被截断'],
    ['got {value}, expected {expected}', '应为 {expected}，收到 {value}'],
  ]))
  const cases: Record<string, string | null> = {
    'step 3 gave numbers (that are not finite); most likely guidance of 100 is too strong': '第 3 步得到非有限数；引导 100 过强',
    'my own model.safetensors is truncated': 'my own model.safetensors：已被截断',
    'a.pt: b c.pt is truncated': 'a.pt：b c.pt：已被截断',
    'got 0, expected 1\nor 2': '应为 1\nor 2，收到 0',
    'got $& and {what}, expected {value}': '应为 {value}，收到 $& and {what}',
    'a pack says: something': null,
    'RuntimeError is what it raised': null,
    '': null,
  }
  for (const [text, words] of Object.entries(cases)) expect(translated(sentences, text), text).toBe(words)
})
