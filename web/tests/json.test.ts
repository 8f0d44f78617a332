import { expect, test } from 'vitest'
import { indentOf, parseJson, RawNumber, writeJson } from '../src/io/json'

test('numbers keep their text', () => {
  for (const text of ['18446744073709551615', '8.0', '-0', '1e3', '1E+5', '0.10', '[1,2.5,-3]', '{"seed":18446744073709551615,"cfg":8.0}']) expect(writeJson(parseJson(text))).toBe(text)
  expect(parseJson('42')).toBe(42)
  expect(parseJson('8.0')).toBeInstanceOf(RawNumber)
})

test('reads and writes as JSON does', () => {
  const values = [null, true, false, 'a "b" \\ \n \u2028 中文', [], {}, [[], [{}]], { b: 1, a: [1, 'x', null], __proto__x: 2 }, { nested: { deep: [1.5, -2e-7] } }]
  for (const value of values) {
    expect(writeJson(parseJson(JSON.stringify(value)))).toBe(JSON.stringify(value))
    expect(writeJson(parseJson(JSON.stringify(value, null, 2)), 2)).toBe(JSON.stringify(value, null, 2))
  }
  expect(indentOf(JSON.stringify({ a: 1 }, null, 4))).toBe(4)
  expect(indentOf('{"a":1}')).toBe(0)
  const evil = parseJson('{"__proto__":{"polluted":1}}') as Record<string, unknown>
  expect(Object.keys(evil)).toEqual(['__proto__'])
  expect(({} as Record<string, unknown>).polluted).toBeUndefined()
})

test('bare words of old pictures are read, other nonsense is refused', () => {
  expect(parseJson('{"is_changed":NaN,"a":-Infinity}')).toEqual({ is_changed: null, a: null })
  for (const text of ['', '{', '[1,]', '{"a" 1}', '01', '"\u0001"', '1 2', "{'a':1}", 'nul', '"\\x"']) expect(() => parseJson(text)).toThrow()
})
