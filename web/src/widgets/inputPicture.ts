/** A picture field's value is a path, with the folder it lies in where that is not `input`. */
import type { Picture } from '../api/client'

export function inputPicture(value: string): Picture | null {
  const match = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(value)
  const path = match?.[1] ?? ''
  if (!path) return null
  const at = path.lastIndexOf('/')
  return { filename: path.slice(at + 1), subfolder: at < 0 ? '' : path.slice(0, at), type: match?.[2] ?? 'input' }
}
