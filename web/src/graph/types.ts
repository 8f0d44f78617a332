/** How socket types look: a colour each, and a shape, so that colour is not all there is. */
const NAMED = new Set(['MODEL', 'CLIP', 'VAE', 'CONDITIONING', 'LATENT', 'IMAGE', 'MASK', 'CONTROL_NET', 'INT', 'FLOAT', 'STRING', 'BOOLEAN', 'COMBO'])
const SQUARE = new Set(['IMAGE', 'MASK', 'LATENT'])
const DIAMOND = new Set(['CONDITIONING', 'CLIP'])

export function typeColor(type: string): string {
  const name = type.split(',')[0] ?? type
  if (NAMED.has(name)) return `var(--t-${name})`
  if (name === '*') return 'var(--link)'
  let hue = 7
  for (const letter of name) hue = (hue * 31 + letter.charCodeAt(0)) % 360
  return `hsl(${hue} var(--t-s) var(--t-l))`
}

export const typeShape = (type: string): string => (SQUARE.has(type) ? 'square' : DIAMOND.has(type) ? 'diamond' : '')
