/** How large a card is before anybody has drawn it. Widths of files are kept unless a name would be cut;
 *  heights grow with what is inside. */
import { inputName } from '../i18n'
import { portsWith } from '../model/connect'
import { defaultOf, type InputDef, type NodeDef } from '../model/definitions'
import type { Node, Point } from '../model/document'
import { defFor } from '../model/varying'
import { useSettings } from '../state/settings'

export const ROW = 22
export const FIELD = 29
export const HEAD = 30
export const SOCKET = 22
/** A Reroute node has neither title nor fields. */
export const KNOT = 84
export const KNOT_HEIGHT = 28

const MARGIN = 26
const FIELD_EDGES = 44
const LEAST = 140

let pen: CanvasRenderingContext2D | null | undefined

/** Pixels that a word takes in the letters of a card; a guess where there is no page. */
function widthOf(text: string): number {
  if (pen === undefined) {
    pen = typeof document === 'undefined' ? null : document.createElement('canvas').getContext('2d')
    if (pen) pen.font = `12.5px ${getComputedStyle(document.body).fontFamily}`
  }
  return pen ? pen.measureText(text).width : text.length * 7
}

const shown = (label: string, name: string): string => (label === name ? inputName(name) : label)
const isLong = (input: InputDef): boolean => input.widget === 'text' && input.options.multiline === true
/** Room for a value beside its name. */
const roomOf = (input: InputDef): number => (input.widget === 'combo' ? 74 : input.widget === 'toggle' ? 36 : 48)

interface Measured {
  readonly def: NodeDef | undefined
  readonly language: string
  readonly width: number
}
const measured = new WeakMap<Node, Measured>()

/** The least width at which no name on the card is cut. */
export function leastWidth(node: Node, def: NodeDef | undefined): number {
  const { language } = useSettings.getState()
  const kept = measured.get(node)
  if (kept && kept.def === def && kept.language === language) return kept.width
  const ports = portsWith(node, def)
  let width = LEAST
  for (let row = 0; row < Math.max(ports.inputs.length, ports.outputs.length); row++) {
    const input = ports.inputs[row]
    const output = ports.outputs[row]
    width = Math.max(width, (input ? widthOf(shown(input.label, input.name)) : 0) + (output ? widthOf(output.label) : 0) + MARGIN + (input && output ? 18 : 0))
  }
  for (const port of ports.widgets) if (port.def && !isLong(port.def)) width = Math.max(width, widthOf(shown(port.label, port.name)) + roomOf(port.def) + FIELD_EDGES)
  const made = Math.ceil(width)
  measured.set(node, { def, language, width: made })
  return made
}

export function showsPictures(def: NodeDef | undefined): boolean {
  return def !== undefined && (def.inputs.some((input) => input.upload) || (def.isTerminal && !measures(def) && def.inputs.some((input) => input.type === 'IMAGE')))
}

/** Whether what a node shows are lines of text: it gives the same numbers on. */
const measures = (def: NodeDef): boolean => def.isTerminal && def.outputs.length > 0

/** Width and height without the title, as files have them. */
export function standardSize(given: NodeDef | undefined): Point {
  const def = defFor(given, { raw: {}, values: {} })
  if (!def) return [240, 80]
  const sockets = def.inputs.filter((input) => !input.widget).length
  let height = Math.max(sockets, def.outputs.length) * ROW + 14
  let wide = 240
  for (const input of def.inputs) {
    if (!input.widget) continue
    if (isLong(input)) (height += 104), (wide = Math.max(wide, 300))
    else {
      height += FIELD * (input.control === 'none' ? 1 : 2)
      const value = widthOf(String(defaultOf(input)))
      wide = Math.max(wide, Math.min(360, Math.ceil(widthOf(inputName(input.name)) + Math.max(value + 20, roomOf(input)) + FIELD_EDGES)))
    }
  }
  if (showsPictures(def)) (height += 220), (wide = Math.max(wide, 260))
  else if (measures(def)) (height += 40), (wide = Math.max(wide, 260))
  return [wide, height]
}
