import { expect, test } from 'vitest'
import { MaskEditing, type Brush } from '../src/model/mask'

const HARD: Brush = { size: 6, hardness: 1, erases: false }

test('a hard stroke covers what it passes, and nothing a pixel further', () => {
  const mask = new MaskEditing(40, 20)
  mask.begin([10, 10], HARD)
  mask.draw([30, 10])
  mask.end()
  const at = (x: number, y: number): number => mask.values[y * 40 + x] as number
  expect(at(20, 10)).toBe(255)
  expect(at(20, 8)).toBe(255)
  expect(at(20, 14)).toBe(0)
  expect(at(35, 10)).toBe(0)
})

test('strokes at random: undo all gives the beginning, redo all the end, to the bit', () => {
  let seed = 7
  const random = (): number => (seed = (seed * 16807) % 2147483647) / 2147483647
  const start = Uint8Array.from({ length: 64 * 48 }, () => Math.floor(random() * 256))
  const mask = new MaskEditing(64, 48, start)
  for (let stroke = 0; stroke < 40; stroke++) {
    mask.begin([random() * 80 - 8, random() * 60 - 6], { size: 1 + random() * 30, hardness: random(), erases: random() < 0.4 })
    for (let part = 0; part < 4; part++) mask.draw([random() * 64, random() * 48])
    mask.end()
  }
  mask.change((value) => 255 - value)
  const end = mask.values.slice()
  const steps = mask.steps
  while (mask.canUndo) mask.undo()
  expect(mask.values).toEqual(start)
  for (let at = 0; at < steps; at++) mask.redo()
  expect(mask.values).toEqual(end)
  expect(mask.canRedo).toBe(false)
})

test('a new stroke ends what could be redone; a stroke beside the picture is no step', () => {
  const mask = new MaskEditing(10, 10)
  mask.begin([5, 5], HARD)
  mask.end()
  mask.undo()
  mask.begin([-50, -50], HARD)
  mask.end()
  expect(mask.canUndo).toBe(false)
  expect(mask.canRedo).toBe(true)
  mask.begin([2, 2], HARD)
  mask.end()
  expect(mask.canRedo).toBe(false)
})
