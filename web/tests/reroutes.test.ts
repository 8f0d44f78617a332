import { expect, test } from 'vitest'
import { copyNodes, pasteNodes, readNodes } from '../src/io/clipboard'
import { writeJson } from '../src/io/json'
import { readUi, writeUi } from '../src/io/ui'
import { course, stretchAt } from '../src/graph/curve'
import { removeLinks, removeNodes } from '../src/model/edit'
import type { Document, Link } from '../src/model/document'
import { addReroute, chainOf, moveReroutes, removeReroutes, reroutesOf } from '../src/model/reroutes'
import { definitions, fixture, object } from './helpers'

const defs = definitions()
const open = (name: string): Document => readUi(object(fixture(name)), defs)
const text = (doc: Document): string => writeJson(writeUi(doc, defs))
const chain = (doc: Document, id: string): string[] => chainOf(doc, doc.links.get(id) as Link).map((point) => point.id)

test('both forms of points are read', () => {
  const doc = open('reroutes_0.4.json')
  expect(chain(doc, '1')).toEqual(['1', '2'])
  expect(chain(doc, '2')).toEqual(['1', '3'])
  expect(chain(doc, '3')).toEqual([])
  expect(reroutesOf(doc).get('3')?.pos).toEqual([400, 150.5])
  expect(chain(open('schema_1.json'), '1')).toEqual(['4'])
})

test('a file with points comes back as it was', () => {
  expect(text(open('reroutes_0.4.json'))).toBe(fixture('reroutes_0.4.json').trimEnd())
})

test('a point is put where the link was pointed at', () => {
  const doc = open('reroutes_0.4.json')
  const last = addReroute(doc, '1', [500.4, 20], 2)
  expect(chain(last, '1')).toEqual(['1', '2', '4'])
  expect(chain(last, '2')).toEqual(['1', '3'])
  const between = addReroute(doc, '1', [350, 70], 1)
  expect(chain(between, '1')).toEqual(['1', '4', '2'])
  const shared = addReroute(doc, '1', [200, 100], 0)
  expect(chain(shared, '1')).toEqual(['4', '1', '2'])
  expect(chain(shared, '2')).toEqual(['4', '1', '3'])
  expect(reroutesOf(shared).get('4')?.links).toEqual(['1', '2'])
  const first = addReroute(doc, '3', [100, 100], 0)
  expect(chain(first, '3')).toEqual(['4'])
  expect(addReroute(doc, '99', [0, 0], 0)).toBe(doc)
  const objects = addReroute(open('schema_1.json'), '1', [9, 9], 1)
  expect(chain(objects, '1')).toEqual(['4', '5'])
  expect(text(objects)).toContain('"lastRerouteId":5')
})

test('points move, and go; links run on without them', () => {
  const doc = open('reroutes_0.4.json')
  expect(moveReroutes(doc, new Map([['2', [400, 50] as const]]))).toBe(doc)
  expect(reroutesOf(moveReroutes(doc, new Map([['3', [1, 2] as const]]))).get('3')?.pos).toEqual([1, 2])
  expect(text(moveReroutes(doc, new Map([['3', [1, 2] as const]])))).toContain('"unheard":true')
  const without = removeReroutes(doc, new Set(['1']))
  expect(chain(without, '1')).toEqual(['2'])
  expect(chain(removeReroutes(doc, new Set(['2'])), '1')).toEqual(['1'])
  const none = removeReroutes(doc, new Set(['1', '2', '3']))
  expect([...reroutesOf(none).keys(), ...chain(none, '1')]).toEqual([])
  expect(chain(removeReroutes(open('schema_1.json'), new Set(['4'])), '1')).toEqual([])
  expect(removeReroutes(doc, new Set(['99']))).toBe(doc)
})

test('a point that carries nothing any more goes with its link', () => {
  const doc = open('reroutes_0.4.json')
  const cut = removeLinks(doc, ['1'])
  expect([...reroutesOf(cut).keys()]).toEqual(['1', '3'])
  expect(text(cut)).toContain('"linkExtensions":[{"id":2,"parentId":3}]')
  expect(reroutesOf(removeNodes(doc, new Set(['4']))).size).toBe(0)
})

test('a link runs through its points, and is told where it was pointed at', () => {
  const points = [[0, 0], [100, 0], [100, 100]] as const
  expect(course(points)).toMatch(/^M0,0C.* 100,0C.* 100,100$/)
  expect(course([[0, 0], [-50, 10]])).toContain('-50,10')
  expect(stretchAt(points, [50, 5])).toBe(0)
  expect(stretchAt(points, [95, 60])).toBe(1)
})

test('copies keep the points of their links, shared ones shared', () => {
  for (const name of ['reroutes_0.4.json', 'schema_1.json']) {
    const doc = open(name)
    const copied = readNodes(copyNodes(doc, new Set(doc.nodes.keys()), defs))
    const pasted = pasteNodes(doc, copied ?? {}, defs, null, false)
    const again = readUi(object(text(pasted.doc)), defs)
    const fresh = [...again.links.values()].filter((link) => pasted.ids.has(link.to))
    const places = (held: Document, links: readonly Link[]): unknown => links.map((link) => chainOf(held, link).map((point) => point.pos))
    const meant = [...doc.links.values()].map((link) => chainOf(doc, link).map((point) => [point.pos[0] + 32, point.pos[1] + 32]))
    expect(places(again, fresh), name).toEqual(meant)
    expect(places(again, [...doc.links.values()].map((link) => again.links.get(link.id) as Link)), name).toEqual(places(doc, [...doc.links.values()]))
    expect(reroutesOf(again).size, name).toBe(2 * reroutesOf(doc).size)
  }
})
