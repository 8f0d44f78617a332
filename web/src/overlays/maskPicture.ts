/** Masks as pictures: read from a picture's transparency, drawn over it, sent to the server. */
import { api, viewUrl, type Picture } from '../api/client'
import type { Box, MaskEditing } from '../model/mask'

const TINT = [255, 96, 64] as const

/** The colours alone, whatever is transparent. */
export const colourUrl = (picture: Picture): string => `${viewUrl(picture)}&channel=rgb`

/** The values of a picture's mask: 255 where it is transparent. */
export async function readMask(picture: Picture): Promise<{ width: number; height: number; values: Uint8Array }> {
  const image = new Image()
  image.src = `${viewUrl(picture)}&channel=a`
  await image.decode()
  const { naturalWidth: width, naturalHeight: height } = image
  const context = surface(width, height)
  context.drawImage(image, 0, 0)
  const { data } = context.getImageData(0, 0, width, height)
  return { width, height, values: Uint8Array.from({ length: width * height }, (_, at) => 255 - (data[4 * at + 3] as number)) }
}

/** Draws a part of the mask as a tint over the picture. */
export function tint(context: CanvasRenderingContext2D, mask: MaskEditing, [left, top, right, bottom]: Box): void {
  const [width, height] = [right - left, bottom - top]
  if (width <= 0 || height <= 0) return
  const shown = context.createImageData(width, height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const to = 4 * (y * width + x)
      shown.data.set(TINT, to)
      shown.data[to + 3] = mask.values[(top + y) * mask.width + left + x] as number
    }
  context.putImageData(shown, left, top)
}

/** Stores the picture with the mask as its transparency, under a name of its own. Gives that name. */
export async function storeMask(picture: Picture, mask: MaskEditing): Promise<string> {
  const context = surface(mask.width, mask.height)
  const sent = context.createImageData(mask.width, mask.height)
  for (let at = 0; at < mask.values.length; at++) sent.data[4 * at + 3] = 255 - (mask.values[at] as number)
  context.putImageData(sent, 0, 0)
  const blob = await new Promise<Blob | null>((done) => context.canvas.toBlob(done, 'image/png'))
  if (!blob) throw new Error('no picture')
  const stem = picture.filename.replace(/\.\w+$/, '').replace(/-mask( \(\d+\))?$/, '')
  return api.uploadMask(picture, new File([blob], `${stem}-mask.png`, { type: 'image/png' }))
}

function surface(width: number, height: number): CanvasRenderingContext2D {
  const canvas = document.createElement('canvas')
  canvas.width = width
  canvas.height = height
  return canvas.getContext('2d', { willReadFrequently: true }) as CanvasRenderingContext2D
}
