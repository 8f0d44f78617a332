/** How large a card is before anybody has drawn it; widths of files are kept, heights grow with what is inside. */
import type { NodeDef } from '../model/definitions'
import type { Point } from '../model/document'

export const ROW = 22
export const FIELD = 29
export const HEAD = 30

export function showsPictures(def: NodeDef | undefined): boolean {
  return def !== undefined && (def.inputs.some((input) => input.upload) || (def.isTerminal && def.inputs.some((input) => input.type === 'IMAGE')))
}

/** Width and height without the title, as files have them. */
export function standardSize(def: NodeDef | undefined): Point {
  if (!def) return [240, 80]
  const sockets = def.inputs.filter((input) => !input.widget).length
  let height = Math.max(sockets, def.outputs.length) * ROW + 14
  let wide = 240
  for (const input of def.inputs) {
    if (!input.widget) continue
    if (input.widget === 'text' && input.options.multiline === true) (height += 104), (wide = 300)
    else height += FIELD * (input.control === 'none' ? 1 : 2)
  }
  if (showsPictures(def)) (height += 220), (wide = Math.max(wide, 260))
  return [wide, height]
}
