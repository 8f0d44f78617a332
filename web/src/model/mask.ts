/** A mask that is painted: values, strokes, and an exact way back. No DOM. */
export interface Brush {
  /** Pixels across. */
  readonly size: number
  /** 1: a sharp edge; 0: fades from the middle. */
  readonly hardness: number
  readonly erases: boolean
}

/** A rectangle of the mask before and after a step. */
interface Patch {
  readonly box: Box
  readonly before: Uint8Array
  readonly after: Uint8Array
}

/** Left, top, right, bottom; the last two not included. */
export type Box = readonly [number, number, number, number]
type Point = readonly [number, number]

const MOST_BYTES = 256 * 2 ** 20

/** A mask being edited: 255 where something is to happen. What methods return is the box that changed. */
export class MaskEditing {
  readonly values: Uint8Array
  private past: Patch[] = []
  private future: Patch[] = []
  private stroke: { base: Uint8Array; cover: Uint8Array; brush: Brush; box: Box; last: Point } | null = null

  constructor(
    readonly width: number,
    readonly height: number,
    values?: Uint8Array,
  ) {
    this.values = values ? values.slice() : new Uint8Array(width * height)
  }

  get canUndo(): boolean {
    return this.past.length > 0
  }

  get canRedo(): boolean {
    return this.future.length > 0
  }

  get steps(): number {
    return this.past.length
  }

  /** The last step: another one, or none, once the mask is another. */
  get mark(): unknown {
    return this.past.at(-1)
  }

  begin(at: Point, brush: Brush): Box {
    this.stroke = { base: this.values.slice(), cover: new Uint8Array(this.values.length), brush, box: [this.width, this.height, 0, 0], last: at }
    return this.draw(at)
  }

  /** Draws on from where the stroke is: one capsule from point to point, so that quick strokes have no gaps. */
  draw(to: Point): Box {
    const stroke = this.stroke
    if (!stroke) return [0, 0, 0, 0]
    const box = this.capsule(stroke.last, to, stroke.brush)
    const [left, top, right, bottom] = box
    for (let y = top; y < bottom; y++)
      for (let x = left; x < right; x++) {
        const at = y * this.width + x
        const cover = Math.max(stroke.cover[at] as number, coverAt(x + 0.5, y + 0.5, stroke.last, to, stroke.brush))
        stroke.cover[at] = cover
        const base = stroke.base[at] as number
        this.values[at] = Math.round(stroke.brush.erases ? (base * (255 - cover)) / 255 : base + ((255 - base) * cover) / 255)
      }
    stroke.box = union(stroke.box, box)
    stroke.last = to
    return box
  }

  end(): void {
    const stroke = this.stroke
    this.stroke = null
    if (stroke) this.remember(stroke.base, stroke.box)
  }

  /** Every value by a rule, as one step. */
  change(rule: (value: number) => number): Box {
    const base = this.values.slice()
    for (let at = 0; at < base.length; at++) this.values[at] = rule(base[at] as number)
    const box: Box = [0, 0, this.width, this.height]
    this.remember(base, box)
    return box
  }

  undo(): Box | null {
    const patch = this.past.pop()
    if (!patch) return null
    this.future.push(patch)
    this.write(patch.box, patch.before)
    return patch.box
  }

  redo(): Box | null {
    const patch = this.future.pop()
    if (!patch) return null
    this.past.push(patch)
    this.write(patch.box, patch.after)
    return patch.box
  }

  private remember(base: Uint8Array, box: Box): void {
    if (box[0] >= box[2] || box[1] >= box[3]) return
    const before = this.read(base, box)
    const after = this.read(this.values, box)
    if (before.every((value, at) => value === after[at])) return
    this.past.push({ box, before, after })
    this.future = []
    let bytes = this.past.reduce((sum, patch) => sum + 2 * patch.before.length, 0)
    while (bytes > MOST_BYTES && this.past.length > 1) bytes -= 2 * (this.past.shift()?.before.length ?? 0)
  }

  private read(from: Uint8Array, [left, top, right, bottom]: Box): Uint8Array {
    const out = new Uint8Array((right - left) * (bottom - top))
    for (let y = top; y < bottom; y++) out.set(from.subarray(y * this.width + left, y * this.width + right), (y - top) * (right - left))
    return out
  }

  private write([left, top, right, bottom]: Box, values: Uint8Array): void {
    const wide = right - left
    for (let y = top; y < bottom; y++) this.values.set(values.subarray((y - top) * wide, (y - top + 1) * wide), y * this.width + left)
  }

  private capsule(from: Point, to: Point, brush: Brush): Box {
    const reach = brush.size / 2 + 1
    return [
      Math.max(0, Math.floor(Math.min(from[0], to[0]) - reach)),
      Math.max(0, Math.floor(Math.min(from[1], to[1]) - reach)),
      Math.min(this.width, Math.ceil(Math.max(from[0], to[0]) + reach)),
      Math.min(this.height, Math.ceil(Math.max(from[1], to[1]) + reach)),
    ]
  }
}

const union = (a: Box, b: Box): Box => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])]

/** 0..255: how much a stroke from `from` to `to` covers a point; its edge is smoothed over a pixel at least. */
function coverAt(x: number, y: number, from: Point, to: Point, brush: Brush): number {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]]
  const length = dx * dx + dy * dy
  const along = length ? Math.max(0, Math.min(1, ((x - from[0]) * dx + (y - from[1]) * dy) / length)) : 0
  const distance = Math.hypot(x - from[0] - along * dx, y - from[1] - along * dy)
  const radius = brush.size / 2
  const fade = radius * (1 - brush.hardness) + 1
  return Math.round(255 * Math.max(0, Math.min(1, (radius + 0.5 - distance) / fade)))
}
