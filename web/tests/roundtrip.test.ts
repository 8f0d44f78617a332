import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { indentOf, writeJson } from '../src/io/json'
import { bindDocument, readUi, writeUi } from '../src/io/ui'
import { moveNodes, removeNodes, setValue } from '../src/model/edit'
import { definitions, exampleText, fixture, object, templates } from './helpers'

const same = (text: string): void => {
  const doc = readUi(object(text), definitions())
  expect(writeJson(writeUi(doc, definitions()), indentOf(text))).toBe(text.trimEnd())
  const late = bindDocument(readUi(object(text), new Map()), definitions())
  expect(writeJson(writeUi(late, definitions()), indentOf(text))).toBe(text.trimEnd())
}

test('files come back byte for byte', () => {
  same(exampleText())
  same(fixture('odd_0.4.json'))
  same(fixture('schema_1.json'))
  same(fixture('subgraph.json'))
})

test('an edit changes what it says and nothing else', () => {
  const before = object(fixture('odd_0.4.json'))
  const doc = readUi(before, definitions())
  const moved = writeUi(moveNodes(doc, new Map([['3', [7, 8] as const]])), definitions())
  const nodes = (file: unknown): Record<string, unknown>[] => (file as { nodes: Record<string, unknown>[] }).nodes
  expect(nodes(moved)[0]?.pos).toEqual({ 0: 7, 1: 8 })
  expect({ ...nodes(moved)[0], pos: 0 }).toEqual({ ...nodes(before)[0], pos: 0 })
  expect(nodes(moved).slice(1)).toEqual(nodes(before).slice(1))
  expect(Object.keys(moved)).toEqual(Object.keys(before))

  const changed = writeUi(setValue(doc, '3', 'steps', 30), definitions())
  expect(writeJson(nodes(changed)[0]?.widgets_values as never)).toBe('[18446744073709551615,"fixed",30,8.0,"euler","normal",1,"one too many"]')
  expect((nodes(changed)[0]?.widgets_values_named as { steps: number }).steps).toBe(30)
})

test('a removed node takes its links along', () => {
  const doc = removeNodes(readUi(object(exampleText()), definitions()), new Set(['3']))
  const file = writeUi(doc, definitions()) as unknown as { links: unknown[][]; nodes: { inputs: { link: unknown }[]; outputs: { links: unknown[] }[] }[] }
  const ids = new Set(file.links.map((link) => link[0]))
  expect(file.links.some((link) => link[1] === 3 || link[3] === 3)).toBe(false)
  for (const node of file.nodes) {
    for (const input of node.inputs) if (input.link !== null) expect(ids.has(input.link)).toBe(true)
    for (const output of node.outputs) for (const link of output.links ?? []) expect(ids.has(link)).toBe(true)
  }
})

test.skipIf(templates() === null)('the template package, where it is installed', () => {
  const place = templates() as string
  for (const name of readdirSync(place).filter((each) => each.endsWith('.json') && !each.startsWith('index'))) {
    const file = object(readFileSync(join(place, name), 'utf-8'))
    if (!Array.isArray(file.nodes)) continue
    expect(writeJson(writeUi(readUi(file, definitions()), definitions())), name).toBe(writeJson(file))
  }
})
