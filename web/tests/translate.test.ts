import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { readDefinitions, type NodeDef } from '../src/model/definitions'
import { readSentences, translated } from '../src/model/sentences'
import { explained, inputWords, readTranslations, UNTRANSLATED } from '../src/model/translate'
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

test('what a choice brings is called by its own name, and members of a group are counted', () => {
  const known = readTranslations({ nodeDefs: { Pad: { inputs: { 'padding.left': { name: '左' }, 'images.image': { name: '图像' }, 'out.0.': { name: '输出块 0' } } } } })
  expect(['padding.left', 'images.image12', 'out.0.'].map((name) => inputWords(known, name))).toEqual(['左', '图像 12', '输出块 0'])
  const names = { bit_depth: 'bit depth', 'format.bit_depth': 'bit depth', 'save.mode.loop_count': 'loop count', 'images.image0': 'image 0', 'latents.latent_3': 'latent 3', 'values.a': 'a', 'layers.0.attn': 'layers.0.attn', 'blocks.0.': 'blocks.0.', _x: '_x' }
  for (const [name, words] of Object.entries(names)) expect(inputWords(UNTRANSLATED, name)).toBe(words)
})

test('explanations of what a choice brings, and of the members of a group, are in the other language', () => {
  const [def] = readDefinitions({
    Pad: { input: { required: { how: ['COMFY_DYNAMICCOMBO_V3', { options: [{ key: 'by side', inputs: { required: { left: ['INT', { tooltip: 'here' }] } } }] }], images: ['COMFY_AUTOGROW_V3', { template: { input: { required: { image: ['IMAGE', { tooltip: 'one' }] } }, prefix: 'image', min: 1, max: 3 } }] } }, output: [] },
  }).values()
  const texts = readTranslations({ nodeDefs: { Pad: { inputs: { 'how.left': { tooltip: '这边' }, 'images.image': { tooltip: '一张' } } } } })
  const [how, images] = explained(new Map([['Pad', def as NodeDef]]), texts).get('Pad')?.inputs ?? []
  expect(how?.branches?.get('by side')?.[0]?.tooltip).toBe('这边')
  expect(images?.members?.each.tooltip).toBe('一张')
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

test('what the server says of a workflow is read in parts', () => {
  const file = fileURLToPath(new URL('../../nodes/locales/zh.json', import.meta.url))
  const sentences = readSentences(new Map(Object.entries((JSON.parse(readFileSync(file, 'utf-8')) as { sentences: Record<string, string> }).sentences)))
  const said: Record<string, string> = {
    "got 0, expected an integer from 1 to 10000": '收到 0，应为 1 到 10000 的整数',
    "value 2 of 3: got 'x', expected a number of at least 0.5": "3 个值中的第 2 个：收到 'x'，应为不小于 0.5 的数",
    'links to IMAGE (output 0 of node 3 (LoadImage)), expected LATENT': '连接到 IMAGE（node 3 (LoadImage) 的输出 0），应为 LATENT',
    "got {'a': 1} as __seeds__, expected an object such as {\"from\": 1, \"count\": 8}, with a count of at least 1": "__seeds__ 收到 {'a': 1}，应为如 {\"from\": 1, \"count\": 8} 的对象，其中 count 至少为 1",
    "its expansion cannot run: node 2 (Add), input 'a': is missing, expected a link to an output of type NUM": "其展开无法运行：节点 2 (Add)，输入 'a'：缺失，应为指向类型为 NUM 的输出的连接",
    "there is no node type 'KSampl' (did you mean 'KSampler'?)": "没有节点类型 'KSampl'（是否指 'KSampler'？）",
    "has 3 values on the axis 'cfg', but 'steps' of node 3 has 2; what is on one axis is taken in step": "在轴 'cfg' 上有 3 个值，而节点 3 的 'steps' 有 2 个；同一轴上的值同步取用",
    'class_type is missing, expected a node type': '缺少 class_type，应为节点类型',
    'the LoRA detail is not in loras': 'LoRA detail 不在 loras 中',
    'was made by a.safetensors (SDXL), but goes with b.safetensors (SD 1): they do not fit each other': '由 a.safetensors (SDXL) 生成，却与 b.safetensors (SD 1) 相连：两者不匹配',
  }
  for (const [english, chinese] of Object.entries(said)) expect(translated(sentences, english)).toBe(chinese)
})
