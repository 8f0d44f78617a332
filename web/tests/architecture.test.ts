import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const SOURCE = fileURLToPath(new URL('../src', import.meta.url))

const files = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? files(path) : /\.tsx?$/.test(name) ? [path] : []
  })

const ALL = files(SOURCE)
const text = new Map(ALL.map((path) => [path, readFileSync(path, 'utf-8')]))

/** What a file imports; types alone are no dependency when it runs. */
function imports(path: string): string[] {
  const found = [...(text.get(path) ?? '').matchAll(/^import (?!type)[^'"]*['"]([^'"]+)['"]/gm)]
  return found.filter((match) => !/^import \{(\s*type [^,}]+,?)+\}/.test(match[0])).map((match) => match[1] as string)
}

const resolved = (from: string, name: string): string | undefined => ['.ts', '.tsx', '/index.ts'].map((end) => join(dirname(from), name) + end).find((path) => text.has(path))

test('the model and the files know neither React nor React Flow nor the rest of the editor', () => {
  for (const path of ALL) {
    const folder = relative(SOURCE, path).split('/')[0]
    if (folder !== 'model' && folder !== 'io') continue
    for (const name of imports(path)) {
      expect(name.startsWith('.'), `${path} imports ${name}`).toBe(true)
      expect(relative(SOURCE, join(dirname(path), name)).split('/')[0], `${path} imports ${name}`).toMatch(/^(model|io)$/)
    }
  }
})

test('only the graph, and what holds it, know React Flow', () => {
  const users = ALL.filter((path) => imports(path).some((name) => name.startsWith('@xyflow/'))).map((path) => relative(SOURCE, path))
  expect(users.filter((path) => !path.startsWith('graph/'))).toEqual(['app/App.tsx', 'app/main.tsx'])
})

test('the model and the files import each other in no circle', () => {
  const done = new Set<string>()
  const walk = (path: string, above: readonly string[]): void => {
    expect(above.includes(path), [...above, path].map((each) => relative(SOURCE, each)).join(' -> ')).toBe(false)
    if (done.has(path)) return
    for (const name of imports(path)) {
      const next = name.startsWith('.') ? resolved(path, name) : undefined
      if (next) walk(next, [...above, path])
    }
    done.add(path)
  }
  for (const path of ALL) if (/^(model|io)\//.test(relative(SOURCE, path))) walk(path, [])
})

test('files are short, and dependencies few', () => {
  const tables = /^i18n\/(en|zh|names)\.ts$/ // tables of words
  for (const [path, code] of text) if (!tables.test(relative(SOURCE, path))) expect(code.split('\n').length, path).toBeLessThanOrEqual(301)
  const about = JSON.parse(readFileSync(join(SOURCE, '../package.json'), 'utf-8')) as { dependencies: object }
  expect(Object.keys(about.dependencies).length).toBeLessThanOrEqual(6)
})
