/** The course of a link: from point to point, leaving and arriving level. */
import type { Point } from '../model/document'

function reach(from: Point, to: Point, isLoose: boolean): number {
  const across = to[0] - from[0]
  if (isLoose) return Math.hypot(across, to[1] - from[1]) * 0.25
  return across >= 0 ? Math.max(across * 0.5, Math.min(30, Math.abs(to[1] - from[1]) * 0.4)) : Math.min(40 - across * 0.25, 160)
}

/** An SVG path through all points; the first is an output, the last an input. */
export function course(points: readonly Point[]): string {
  const path: string[] = []
  points.forEach((point, at) => {
    const before = points[at - 1]
    if (!before) return void path.push(`M${point[0]},${point[1]}`)
    const by = reach(before, point, points.length > 2)
    path.push(`C${before[0] + by},${before[1]} ${point[0] - by},${point[1]} ${point[0]},${point[1]}`)
  })
  return path.join('')
}

/** Between which of the points a place on the link lies: the number of points before it, the output not counted. */
export function stretchAt(points: readonly Point[], place: Point): number {
  let best = 0
  let least = Infinity
  for (let at = 1; at < points.length; at++) {
    const [a, b] = [points[at - 1] as Point, points[at] as Point]
    const length = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1
    const along = Math.max(0, Math.min(1, ((place[0] - a[0]) * (b[0] - a[0]) + (place[1] - a[1]) * (b[1] - a[1])) / length ** 2))
    const off = Math.hypot(a[0] + along * (b[0] - a[0]) - place[0], a[1] + along * (b[1] - a[1]) - place[1])
    if (off < least) (least = off), (best = at - 1)
  }
  return best
}
