import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { en } from '../src/i18n/en'
import { zh } from '../src/i18n/zh'

const root = new URL('../src/', import.meta.url)
const files = (readdirSync(root, { recursive: true }) as string[]).filter((name) => /\.tsx?$/.test(name)).map((name) => ({ name, text: readFileSync(new URL(name, root), 'utf-8') }))
const rest = files.filter((file) => !file.name.startsWith('i18n/e') && !file.name.startsWith('i18n/z') && !file.name.startsWith('i18n/p')).map((file) => file.text).join('\n')

test('no text stands bare in what is drawn', () => {
  const bare = files.filter((file) => file.name.endsWith('.tsx')).flatMap(({ name, text }) =>
    [...text.matchAll(/<\/?[a-z][^<>{}=]*>\s*([A-Za-z][^<>{}]*[a-z]{2,}[^<>{}]*)<\//g), ...text.matchAll(/(?:title|aria-label|placeholder|alt)="([^"]*[A-Za-z]{2,}[^"]*)"/g)].map((found) => `${name}: ${found[1]}`),
  )
  expect(bare.filter((each) => !/: (Ctrl|Alt|Shift) \+/.test(each))).toEqual([]) // keys have the same names everywhere
})

test('both languages say the same things, with the same blanks', () => {
  const blanks = (text: string): string[] => [...text.matchAll(/\{\w+\}/g)].map(String).sort()
  for (const key of Object.keys(en) as (keyof typeof en)[]) {
    expect(zh[key], key).toBeTruthy()
    expect(blanks(zh[key]), key).toEqual(blanks(en[key]))
  }
})

test('what should be Chinese is Chinese', () => {
  const same = (Object.keys(en) as (keyof typeof en)[]).filter((key) => !/[\u4e00-\u9fff]/.test(zh[key]) && /[a-z]{3,}/.test(zh[key].replace(/\{\w+\}/g, '')))
  expect(same).toEqual(['app.name'])
})

test('every text is used', () => {
  const unused = Object.keys(en).filter((key) => {
    const parts = key.split('.')
    const prefixes = parts.map((_, at) => parts.slice(0, at).join('.')).filter(Boolean)
    return !rest.includes(`'${key}'`) && !prefixes.some((prefix) => rest.includes(`\`${prefix}.\${`) || rest.includes(`'${prefix}.'`))
  })
  expect(unused).toEqual([])
})
