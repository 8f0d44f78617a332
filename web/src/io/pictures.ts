/** The workflow that a picture carries: PNG text chunks, WebP EXIF. */
export interface Carried {
  workflow?: string
  prompt?: string
}

export async function readPicture(bytes: Uint8Array): Promise<Carried> {
  if (bytes[0] === 0x89 && bytes[1] === 0x50) return readPng(bytes)
  if (ascii(bytes, 0, 4) === 'RIFF' && ascii(bytes, 8, 12) === 'WEBP') return readWebp(bytes)
  return {}
}

/** Whether a picture says anything besides its pixels: texts of a PNG, Exif of others. */
export function saysMore(bytes: Uint8Array): boolean {
  const head = new TextDecoder('latin1').decode(bytes.subarray(0, 2 ** 18))
  return /[tiz]TXt|tEXt|Exif/.test(head)
}

const ascii = (bytes: Uint8Array, from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to))

async function readPng(bytes: Uint8Array): Promise<Carried> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const found: Record<string, string> = {}
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at)
    const type = ascii(bytes, at + 4, at + 8)
    const data = bytes.subarray(at + 8, at + 8 + length)
    if (type === 'tEXt' || type === 'comf' || type === 'iTXt' || type === 'zTXt') {
      const end = data.indexOf(0)
      if (end > 0) {
        const key = new TextDecoder('latin1').decode(data.subarray(0, end))
        const text = await textOf(type, data.subarray(end + 1))
        if (text !== null && !(key in found)) found[key] = text
      }
    }
    if (type === 'IEND') break
    at += 12 + length
  }
  return pick(found)
}

async function textOf(type: string, data: Uint8Array): Promise<string | null> {
  if (type === 'zTXt') return inflate(data.subarray(1), 'latin1')
  if (type !== 'iTXt') return decode(data)
  const packed = data[0] === 1
  const language = data.indexOf(0, 2)
  const translated = data.indexOf(0, language + 1)
  const body = data.subarray(translated + 1)
  return packed ? inflate(body, 'utf-8') : new TextDecoder().decode(body)
}

/** Latin-1 by the standard; some writers put UTF-8 there. */
function decode(data: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(data)
  } catch {
    return new TextDecoder('latin1').decode(data)
  }
}

async function inflate(data: Uint8Array, encoding: string): Promise<string | null> {
  try {
    const stream = new Blob([data as BlobPart]).stream().pipeThrough(new DecompressionStream('deflate'))
    return new TextDecoder(encoding).decode(await new Response(stream).arrayBuffer())
  } catch {
    return null
  }
}

function readWebp(bytes: Uint8Array): Carried {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true)
    if (ascii(bytes, at, at + 4) === 'EXIF') return readExif(bytes.subarray(at + 8, at + 8 + length))
    at += 8 + length + (length % 2)
  }
  return {}
}

function readExif(block: Uint8Array): Carried {
  const tiff = ascii(block, 0, 4) === 'Exif' ? block.subarray(6) : block
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength)
  const little = ascii(tiff, 0, 2) === 'II'
  const found: Record<string, string> = {}
  if (tiff.length < 10) return {}
  const first = view.getUint32(4, little)
  const count = first + 2 <= tiff.length ? view.getUint16(first, little) : 0
  for (let index = 0; index < count; index++) {
    const at = first + 2 + index * 12
    if (at + 12 > tiff.length) break
    if (view.getUint16(at + 2, little) !== 2) continue
    const length = view.getUint32(at + 4, little)
    const from = length > 4 ? view.getUint32(at + 8, little) : at + 8
    const text = decode(tiff.subarray(from, from + length)).replace(/\0+$/, '')
    const colon = text.indexOf(':')
    if (colon > 0) found[text.slice(0, colon).toLowerCase()] = text.slice(colon + 1)
  }
  return pick(found)
}

function pick(found: Record<string, string>): Carried {
  const carried: Carried = {}
  if (found.workflow) carried.workflow = found.workflow
  if (found.prompt) carried.prompt = found.prompt
  return carried
}
