/** Places for boxes that links join, sources left, wires short and mostly uncrossed (Sugiyama et al. 1981): the rule of the
 *  server's `graph/layout.py`, so that a workflow lies alike whoever lays it out. */
import type { Point } from './document'

const BETWEEN_BOXES = 36
const BETWEEN_COLUMNS = 70
const ROUNDS = 8
/** Boxes that are arranged with care; more are put into their columns as they come. */
const MOST = 2000
/** Places that wires may take in columns which they cross; of more, long wires run as they like. */
const MOST_BENDS = 20_000

type Edge = readonly [string, string]

/** A box, or the place that a wire takes in a column which it crosses (its `box` is empty). */
interface Item {
  readonly box: string
  readonly height: number
  readonly before: Item[]
  readonly after: Item[]
}

/** The upper left corner of each box; the leftmost column and the topmost box begin at 0. `links` lead from source to reader. */
export function placesOf(sizes: ReadonlyMap<string, Point>, links: Iterable<Edge>): Map<string, Point> {
  const edges = new Map([...links].filter(([from, to]) => from !== to && sizes.has(from) && sizes.has(to)).map((edge) => [edge.join('\u0000'), edge]))
  let columns = columnsOf(sizes, [...edges.values()])
  if (sizes.size <= MOST) columns = untangled(columns)
  const middles = middlesOf(columns, sizes.size <= MOST)
  const places = new Map<string, Point>()
  let left = 0
  for (const column of columns) {
    const boxes = column.filter((item) => item.box)
    const widest = boxes.length ? Math.max(...boxes.map((item) => widthOf(sizes, item))) : -BETWEEN_COLUMNS
    for (const item of boxes) places.set(item.box, [Math.round(left + (widest - widthOf(sizes, item)) / 2), Math.round((middles.get(item) as number) - item.height / 2)])
    left += widest + BETWEEN_COLUMNS
  }
  const top = Math.min(...[...places.values()].map(([, y]) => y))
  return new Map([...places].map(([box, [x, y]]) => [box, [x, y - top] as Point]))
}

const widthOf = (sizes: ReadonlyMap<string, Point>, item: Item): number => sizes.get(item.box)?.[0] ?? 0

/** Boxes in columns. Wires that cross a column have a place of their own there, so that they run around boxes. */
function columnsOf(sizes: ReadonlyMap<string, Point>, edges: readonly Edge[]): Item[][] {
  const ranks = ranksOf([...sizes.keys()], edges)
  const columns: Item[][] = Array.from({ length: Math.max(-1, ...ranks.values()) + 1 }, () => [])
  const put = (box: string, column: number): Item => {
    const item: Item = { box, height: sizes.get(box)?.[1] ?? 0, before: [], after: [] }
    columns[column]?.push(item)
    return item
  }
  const join = (source: Item, reader: Item): unknown => (source.after.push(reader), reader.before.push(source))
  const items = new Map([...sizes.keys()].map((box) => [box, put(box, ranks.get(box) as number)]))
  const spanOf = ([source, reader]: Edge): number => (ranks.get(reader) as number) - (ranks.get(source) as number)
  const bends = edges.reduce((sum, edge) => sum + Math.max(0, spanOf(edge) - 1), 0)
  for (const edge of edges) {
    const span = spanOf(edge)
    if (span < 1 || (span > 1 && bends > MOST_BENDS)) continue // below 1: part of a circle
    const first = ranks.get(edge[0]) as number
    let last = items.get(edge[0]) as Item
    for (let column = first + 1; column < first + span; column++) {
      const bend = put('', column)
      join(last, bend)
      last = bend
    }
    join(last, items.get(edge[1]) as Item)
  }
  return columns
}

/** The column of each box: behind all that it reads, and right before what reads it where it is free to move. */
function ranksOf(boxes: readonly string[], edges: readonly Edge[]): Map<string, number> {
  const before = new Map(boxes.map((box): [string, string[]] => [box, []]))
  const after = new Map(boxes.map((box): [string, string[]] => [box, []]))
  for (const [source, reader] of edges) before.get(reader)?.push(source), after.get(source)?.push(reader)
  const of = (map: ReadonlyMap<string, string[]>, box: string): string[] => map.get(box) ?? []
  const unread = new Map(boxes.map((box) => [box, of(before, box).length]))
  const order = boxes.filter((box) => unread.get(box) === 0)
  const placed = new Set(order)
  const ranks = new Map<string, number>()
  let waiting = 0
  for (let at = 0; ranks.size < boxes.length; at++) {
    if (at === order.length) {
      // only circles are left: one of them begins somewhere
      while (placed.has(boxes[waiting] as string)) waiting++
      placed.add(boxes[waiting] as string)
      order.push(boxes[waiting] as string)
    }
    const box = order[at] as string
    ranks.set(box, Math.max(0, ...of(before, box).flatMap((source) => (ranks.has(source) ? (ranks.get(source) as number) + 1 : []))))
    for (const reader of of(after, box)) {
      unread.set(reader, (unread.get(reader) as number) - 1)
      if (unread.get(reader) === 0 && !placed.has(reader)) placed.add(reader), order.push(reader)
    }
  }
  for (const box of order.reverse()) {
    const readers = of(after, box)
    if (readers.length > of(before, box).length) ranks.set(box, Math.max(ranks.get(box) as number, Math.min(...readers.map((reader) => ranks.get(reader) as number)) - 1))
  }
  return ranks
}

const placeIn = (column: readonly Item[]): Map<Item, number> => new Map(column.map((item, at) => [item, at]))

/** Each column ordered by where its neighbours are, to and fro; the order with the fewest crossings. */
function untangled(columns: readonly Item[][]): Item[][] {
  const now = columns.map((column) => [...column])
  let best = now.map((column) => [...column])
  let fewest = crossings(now)
  for (let turn = 0; turn < ROUNDS && fewest > 0; turn++) {
    const forward = turn % 2 === 0
    const asked = [...now.keys()].slice(1)
    for (const column of forward ? asked : asked.map((at) => at - 1).reverse()) sortBeside(now[column] as Item[], now[forward ? column - 1 : column + 1] as Item[], forward)
    const found = crossings(now)
    if (found < fewest) (best = now.map((column) => [...column])), (fewest = found)
  }
  return best
}

/** By the mean place of the neighbours; what has none stays where it is. */
function sortBeside(column: Item[], beside: readonly Item[], forward: boolean): void {
  const place = placeIn(beside)
  const share = beside.length / Math.max(1, column.length)
  const means = new Map(
    column.map((item, at) => {
      const neighbours = forward ? item.before : item.after
      return [item, neighbours.length ? neighbours.reduce((sum, each) => sum + (place.get(each) as number), 0) / neighbours.length : at * share]
    }),
  )
  column.sort((a, b) => (means.get(a) as number) - (means.get(b) as number))
}

function crossings(columns: readonly Item[][]): number {
  return columns.slice(1).reduce((total, following, at) => {
    const place = placeIn(following)
    const ends = (columns[at] as Item[]).flatMap((item) => item.after.map((each) => place.get(each) as number).sort((a, b) => a - b))
    return total + inversions(ends, following.length)
  }, 0)
}

/** Pairs in the wrong order, by a tree of sums (Barth et al. 2004). */
function inversions(places: readonly number[], count: number): number {
  let size = 1
  while (size < count) size *= 2
  const sums = new Array<number>(2 * size).fill(0)
  let found = 0
  for (const place of places) {
    let at = place + size
    for (; at > 1; at >>= 1) {
      if (at % 2 === 0) found += sums[at + 1] as number
      sums[at] = (sums[at] as number) + 1
    }
    sums[1] = (sums[1] as number) + 1
  }
  return found
}

/** The middle of each item in its column: as near to its neighbours as the others there let it be. */
function middlesOf(columns: readonly Item[][], carefully: boolean): Map<Item, number> {
  const middles = new Map<Item, number>()
  for (const column of columns) {
    let top = 0
    for (const item of column) {
      middles.set(item, top + item.height / 2)
      top += item.height + BETWEEN_BOXES
    }
  }
  for (let turn = 0; carefully && turn <= ROUNDS; turn++) {
    const forward = turn % 2 === 0 // the last time from the left
    for (const column of forward ? columns : [...columns].reverse()) {
      const wanted = column.map((item) => wantedFor(item, middles, forward))
      apart(wanted, column.map((item) => item.height)).forEach((middle, at) => middles.set(column[at] as Item, middle))
    }
  }
  return middles
}

/** Where an item would best be, and how much that counts: most beside what was placed just before. */
function wantedFor(item: Item, middles: ReadonlyMap<Item, number>, forward: boolean): Point {
  const [near, far] = forward ? [item.before, item.after] : [item.after, item.before]
  const beside = near.length ? near : far
  const middle = beside.length ? beside.reduce((sum, each) => sum + (middles.get(each) as number), 0) / beside.length : (middles.get(item) as number)
  return [middle, near.length ? 1 : 1e-6]
}

/** The middles nearest to those wanted, in the weighted least squares, that keep order and distance. */
function apart(wanted: readonly Point[], heights: readonly number[]): number[] {
  const offsets = [0]
  for (let at = 1; at < heights.length; at++) offsets.push((offsets[at - 1] as number) + ((heights[at - 1] as number) + (heights[at] as number)) / 2 + BETWEEN_BOXES)
  const blocks: [number, number, number][] = [] // sum, weight and count of what stands together
  wanted.forEach(([want, weight], at) => {
    let [total, mass, count] = [(want - (offsets[at] as number)) * weight, weight, 1]
    for (let last = blocks.at(-1); last && last[0] / last[1] > total / mass; last = blocks.at(-1)) {
      blocks.pop()
      total += last[0]
      mass += last[1]
      count += last[2]
    }
    blocks.push([total, mass, count])
  })
  return blocks.flatMap(([total, mass, count]) => new Array<number>(count).fill(total / mass)).map((mean, at) => mean + (offsets[at] as number))
}
