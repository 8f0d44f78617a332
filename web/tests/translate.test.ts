import { expect, test } from 'vitest'
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
