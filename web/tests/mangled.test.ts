import { expect, test } from 'vitest'
import { toApi } from '../src/io/api'
import { copyNodes, pasteNodes, readNodes } from '../src/io/clipboard'
import { isObject, parseJson, RawNumber, writeJson, type Json, type JsonObject } from '../src/io/json'
import { readApi } from '../src/io/readApi'
import { bindDocument, readUi, writeUi } from '../src/io/ui'
import { canConnect, fittingInputs, nameOf, portsOf } from '../src/model/connect'
import { readDefinitions, type Definitions } from '../src/model/definitions'
import { linksOf, subgraphsOf, type Document } from '../src/model/document'
import { connect, moveNodes, removeLinks, removeNodes, resizeNode, setFlag, setGroup } from '../src/model/edit'
import { membersOf, moveGroup } from '../src/model/groups'
import { INPUT_NODE, known, OUTPUT_NODE } from '../src/model/library'
import { arrange } from '../src/model/layout'
import { addReroute, chainOf, moveReroutes, removeReroutes, reroutesOf } from '../src/model/reroutes'
import { nextSeeds, resolveTexts, seedsOf } from '../src/model/seed'
import { makeSubgraph, removeEnd, renameEnd, unpackSubgraph, addEnd } from '../src/model/subgraphEdit'
import { holds, nodeAt, openSubgraph, putSubgraph } from '../src/model/subgraphs'
import { validate } from '../src/model/validate'
import { definitions, exampleText, fixture, groupNodes, numbers, object } from './helpers'

const defs = definitions()
const JUNK: readonly Json[] = [null, 0, -1, 7, 2.5, true, '', 'x', '3', [], {}, [1], [[1, 2]], { 0: 1, 1: 2 }, { id: 3 }, [null], ['a', 0], new RawNumber('1e400')]
const sizeOf = (): readonly [number, number] => [200, 100]

/** The same JSON with one or two places in it replaced by nonsense, or missing. */
function mangled(value: Json, random: () => number): Json {
  const places: (readonly (string | number)[])[] = []
  const walk = (at: Json, path: readonly (string | number)[]): void => {
    if (path.length) places.push(path)
    if (Array.isArray(at)) at.forEach((item: Json, index) => walk(item, [...path, index]))
    else if (isObject(at)) for (const [key, item] of Object.entries(at)) walk(item, [...path, key])
  }
  walk(value, [])
  const path = places[Math.floor(random() * places.length)] as readonly (string | number)[]
  const junk = random() < 0.3 ? undefined : JUNK[Math.floor(random() * JUNK.length)]
  const replace = (at: Json, rest: readonly (string | number)[]): Json => {
    const [key, ...more] = rest
    if (key === undefined) return at
    if (Array.isArray(at)) {
      const list = [...at] as Json[]
      if (!more.length && junk === undefined) list.splice(Number(key), 1)
      else list[Number(key)] = more.length ? replace(list[Number(key)] as Json, more) : (junk as Json)
      return list
    }
    const entries = { ...(at as JsonObject) } as Record<string, Json>
    if (!more.length && junk === undefined) delete entries[key]
    else entries[key] = more.length ? replace(entries[key] as Json, more) : (junk as Json)
    return entries
  }
  return replace(value, path)
}

/** Everything that can be done to a document; nothing of it may raise. */
function everything(doc: Document, types: Definitions, random: () => number): void {
  const ids = [...doc.nodes.keys()]
  const pick = (): string => ids[Math.floor(random() * ids.length)] ?? 'none'
  toApi(doc, types)
  validate(doc, types)
  nextSeeds(doc, types, seedsOf(doc, types), random)
  resolveTexts(doc, types, random, new Date(2026, 0, 2))
  writeUi(moveNodes(doc, new Map(ids.map((id) => [id, [3, 4] as const]))), types)
  writeUi(resizeNode(setFlag(doc, [pick()], 'collapsed', random() < 0.5), pick(), [10, 20], [1, 1]), types)
  writeUi(removeNodes(doc, new Set([pick()])), types)
  writeUi(removeLinks(doc, [[...doc.links.keys()][0] ?? '']), types)
  arrange(doc, sizeOf)
  const all = known(types, doc.file)
  for (const node of doc.nodes.values()) {
    portsOf(doc, node, all)
    nameOf(node, doc, all)
    linksOf(doc, node.id)
    nodeAt(doc, `${node.id}:3`, types)
  }
  const target = doc.nodes.get(pick())
  if (target) {
    fittingInputs(doc, all, pick(), 0, target)
    const ends = { from: pick(), fromSlot: Math.floor(random() * 3), to: target.id, input: portsOf(doc, target, all).inputs[0]?.name ?? 'samples' }
    canConnect(doc, all, ends)
    writeUi(connect(doc, ends, all.get(target.type), 'LATENT'), types)
  }
  for (const link of doc.links.values()) {
    chainOf(doc, link)
    const added = addReroute(doc, link.id, [5, 5], Math.floor(random() * 3))
    writeUi(removeReroutes(moveReroutes(added, new Map([...reroutesOf(added).keys()].map((id) => [id, [1, 1] as const]))), new Set([...reroutesOf(added).keys()].slice(0, 1))), types)
    writeUi(removeLinks(added, [link.id]), types)
  }
  doc.groups.forEach((_, at) => writeUi(moveGroup(setGroup(doc, at, { title: 't', color: '#fff' }), at, [1, 1], membersOf(doc, at, sizeOf)), types))
  const copied = readNodes(copyNodes(doc, new Set(ids), all, [0]))
  if (copied) toApi(pasteNodes(doc, copied, all, random() < 0.5 ? null : [9, 9], true).doc, types)
  let number = 0
  const newId = (): string => `new-${number++}`
  const made = makeSubgraph(doc, new Set([pick(), pick(), pick()]), 'Made', types, sizeOf, newId)
  if (made) {
    writeUi(made.doc, types)
    unpackSubgraph(made.doc, made.id, types)
  }
  for (const type of subgraphsOf(doc.file).keys()) {
    holds(doc.file, type, 'other')
    const inner = openSubgraph(doc, type, types)
    if (!inner) continue
    const outgoing = addEnd(inner, OUTPUT_NODE, 'more', 'LATENT', newId)
    for (const edited of [moveNodes(inner, new Map([[INPUT_NODE, [1, 2] as const]])), removeEnd(inner, INPUT_NODE, 0), removeEnd(inner, OUTPUT_NODE, 0), renameEnd(inner, OUTPUT_NODE, 0, 'n'), outgoing.doc]) toApi(putSubgraph(doc, type, edited, types), types)
    if (!type.startsWith('new-')) for (const id of ids) unpackSubgraph(doc, id, types)
  }
}

const SEEDS = Number(process.env.SEEDS ?? 40)
const FILES = new Map([...['odd_0.4.json', 'schema_1.json', 'subgraph.json', 'reroutes_0.4.json', 'everything.json'].map((name) => [name, object(fixture(name))] as const), ['example', object(exampleText())], ['group nodes', groupNodes().primitive?.file as JsonObject]])

test('files with nonsense in them come back as they were, and nothing that is done to them raises', () => {
  for (const [name, whole] of FILES) {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = numbers(seed)
      let file: Json = mangled(whole, random)
      if (random() < 0.4) file = mangled(file, random)
      if (!isObject(file)) continue
      const doc = readUi(file, defs)
      expect(writeJson(writeUi(doc, defs)), `${name} ${seed}`).toBe(writeJson(file))
      expect(writeJson(writeUi(bindDocument(readUi(file, new Map()), defs), defs)), `${name} ${seed}, types late`).toBe(writeJson(file))
      everything(doc, defs, random)
      if (seed % 10 === 0) everything(readUi(file, new Map()), new Map(), random)
    }
  }
}, 120_000)

test('nonsense from the server is left out', () => {
  const answer = object(fixture('object_info.json'))
  for (let seed = 1; seed <= 100; seed++) {
    const random = numbers(seed)
    const types = readDefinitions(mangled(mangled(answer, random), random))
    validate(readUi(object(exampleText()), types), types)
  }
  expect(readDefinitions(null).size).toBe(0)
  expect(readDefinitions({ a: 3 }).size).toBe(0)
}, 60_000)

test('requests with nonsense in them open', () => {
  const whole = JSON.parse(JSON.stringify(toApi(readUi(object(exampleText()), defs), defs))) as Json
  for (let seed = 1; seed <= 200; seed++) {
    const file = mangled(whole, numbers(seed))
    if (isObject(file)) writeUi(readApi(file, defs, () => [200, 100], (doc) => doc), defs)
  }
  expect(parseJson('\ufeff[1]')).toEqual([1])
}, 60_000)
