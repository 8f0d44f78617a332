import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { toApi } from '../src/io/api'
import { indentOf, isArray, parseJson, writeJson, writeLike, type JsonObject } from '../src/io/json'
import { bindDocument, readUi, writeUi } from '../src/io/ui'
import { moveNodes, removeNodes, setValue } from '../src/model/edit'
import { subgraphsOf, type Document } from '../src/model/document'
import { openSubgraph, putSubgraph } from '../src/model/subgraphs'
import { definitions, exampleText, fixture, object, templates } from './helpers'

const defs = definitions()
const same = (text: string, name = ''): void => {
  const doc = readUi(object(text), defs)
  expect(writeLike(text, writeUi(doc, defs), indentOf(text)), name).toBe(text)
  const late = bindDocument(readUi(object(text), new Map()), defs)
  expect(writeLike(text, writeUi(late, defs), indentOf(text)), name).toBe(text)
}

test('files come back byte for byte', () => {
  for (const name of ['odd_0.4.json', 'schema_1.json', 'subgraph.json']) expect(writeJson(writeUi(readUi(object(fixture(name)), defs), defs), indentOf(fixture(name)))).toBe(fixture(name).trimEnd())
  const doc = readUi(object(exampleText()), defs)
  const spaced = exampleText().replaceAll('[', '[ ')
  same(spaced)
  expect(writeLike(spaced, writeUi(moveNodes(doc, new Map([['3', [7, 8] as const]])), defs), 0)).not.toContain('[ ')
  same(exampleText())
  same(fixture('odd_0.4.json'))
  same(fixture('schema_1.json'))
  same(fixture('subgraph.json'))
})

test('an edit changes what it says and nothing else', () => {
  const before = object(fixture('odd_0.4.json'))
  const doc = readUi(before, defs)
  const moved = writeUi(moveNodes(doc, new Map([['3', [7, 8] as const]])), defs)
  const nodes = (file: unknown): Record<string, unknown>[] => (file as { nodes: Record<string, unknown>[] }).nodes
  expect(nodes(moved)[0]?.pos).toEqual({ 0: 7, 1: 8 })
  expect({ ...nodes(moved)[0], pos: 0 }).toEqual({ ...nodes(before)[0], pos: 0 })
  expect(nodes(moved).slice(1)).toEqual(nodes(before).slice(1))
  expect(Object.keys(moved)).toEqual(Object.keys(before))

  const changed = writeUi(setValue(doc, '3', 'steps', 30), defs)
  expect(writeJson(nodes(changed)[0]?.widgets_values as never)).toBe('[18446744073709551615,"fixed",30,8.0,"euler","normal",1,"one too many"]')
  expect((nodes(changed)[0]?.widgets_values_named as { steps: number }).steps).toBe(30)
})

test('a removed node takes its links along', () => {
  const doc = removeNodes(readUi(object(exampleText()), defs), new Set(['3']))
  const file = writeUi(doc, defs) as unknown as { links: unknown[][]; nodes: { inputs: { link: unknown }[]; outputs: { links: unknown[] }[] }[] }
  const ids = new Set(file.links.map((link) => link[0]))
  expect(file.links.some((link) => link[1] === 3 || link[3] === 3)).toBe(false)
  for (const node of file.nodes) {
    for (const input of node.inputs) if (input.link !== null) expect(ids.has(input.link)).toBe(true)
    for (const output of node.outputs) for (const link of output.links ?? []) expect(ids.has(link)).toBe(true)
  }
})

test.skipIf(templates() === null)('the workflows of the template package, old (172) or new (644), come back byte for byte, with their subgraphs opened and put back', () => {
  const place = templates() as string
  const files = readdirSync(place).filter((each) => each.endsWith('.json') && !each.startsWith('index') && isArray((parseJson(readFileSync(join(place, each), 'utf-8')) as JsonObject).nodes))
  for (const name of files) {
    const text = readFileSync(join(place, name), 'utf-8')
    same(text, name)
    const doc = readUi(object(text), defs)
    let opened = doc
    for (const id of subgraphsOf(doc.file).keys()) opened = putSubgraph(opened, id, openSubgraph(opened, id, defs) as Document, defs)
    expect(writeJson(writeUi(opened, defs)), name).toBe(writeJson(object(text)))
    expect(() => toApi(doc, defs), name).not.toThrow()
  }
  expect([172, 644]).toContain(files.length)
}, 120_000)
