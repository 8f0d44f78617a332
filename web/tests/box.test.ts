import { expect, test } from 'vitest'
import { boxText, readBox } from '../src/model/box'

test('a rectangle is four numbers with commas, and what is typed on the way to it stays', () => {
  const box = { x: 1, y: 2, width: 30, height: 40 }
  expect(boxText(box)).toBe('1, 2, 30, 40')
  expect(readBox('1, 2,30 ,40')).toEqual(box)
  expect(readBox('1, 2, 30, ')).toBe('1, 2, 30, ')
  expect(boxText('1, 2, 30, ')).toBe('1, 2, 30, ')
  expect(boxText(null)).toBe('')
})
