/** Nodes that only editors know: they are in files, and never sent. */
import type { Definitions, NodeDef } from './definitions'

const plain = (type: string, title: string, description: string, socket: boolean): NodeDef => ({
  type,
  title,
  category: 'utils',
  description,
  pack: '',
  inputs: socket && type === 'Reroute' ? [{ name: '', type: '*', widget: null, optional: true, options: {}, choices: [], isForced: false, control: 'none', upload: false, tooltip: '' }] : [],
  outputs: socket ? [{ name: '', type: '*', tooltip: '' }] : [],
  isTerminal: false,
  isDeprecated: false,
  isExperimental: false,
})

export const BUILTIN: Definitions = new Map(
  [
    plain('Note', 'Note', 'Words on the canvas.', false),
    plain('MarkdownNote', 'Markdown Note', 'Words with headings, lists and links.', false),
    plain('Reroute', 'Reroute', 'A stop on the way of a link.', true),
    plain('PrimitiveNode', 'Primitive', 'A field by itself, for one or more inputs of its kind.', true),
  ].map((def) => [def.type, def]),
)
