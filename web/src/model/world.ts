/** What the model in the box can draw: the words that its captions use. It hears no others. */
import { inputAt as nameAt, linkInto, type Document, type Node } from './document'
import { toText } from '../io/json'

const inputAt = (node: Node | undefined, slot: number): string => (node ? nameAt(node, slot) : '')

const WORDS = new Set(
  `
  a above an and apple apples art as at autumn balloon balloons beach big black blue boat boats by cat cats clear clouds cloudy cup cups day daylight
  drawing dusk falling fish flower flowers green house houses in left meadow mountains night of on picture pixel purple rain red right sea sky small
  snow spring summer sunset table the three to tree trees two under watercolor watercolour white winter woodcut yellow
`
    .trim()
    .split(/\s+/),
)
const SIGNS = new Set('一三上下两个云像冬刻只右和图在地夏多夜大天子小山左帆座彩房方日春晚晴有木朵条杯果树桌棵气水沙海滩热版猫球画白的秋素紫红绿船艘色花苹草落蓝边里雨雪鱼黄黑')
const MODEL = /(^|[\\/])darkroom-world/

/** Whether a file is a model that came with the program. */
export const isInTheBox = (file: string): boolean => MODEL.test(file)

/** The words of a prompt that this model knows nothing of; weights, embeddings and comments are no words. */
export function unheard(prompt: string): string[] {
  const bare = prompt.replace(/embedding:\S+|\/\*[\s\S]*?\*\/|(^|[^:])\/\/.*$/gm, ' ')
  const words = (bare.match(/[a-z][a-z'-]*/gi) ?? []).filter((word) => !word.toLowerCase().split(/['-]/).every((part) => part === '' || part === 's' || WORDS.has(part)))
  const signs = [...bare].filter((sign) => /[\u4e00-\u9fff]/.test(sign) && !SIGNS.has(sign))
  return [...new Set([...words, ...signs])]
}

/** Whether a prompt says what a picture should not show. */
export const isNegative = (doc: Document, id: string): boolean => {
  const into = [...doc.links.values()].filter((link) => link.from === id).map((link) => inputAt(doc.nodes.get(link.to), link.toSlot))
  return into.length > 0 && into.every((name) => name === 'negative')
}

/** Whether what encodes a node's prompt is of a model in the box. */
export function readsForTheBox(doc: Document, id: string): boolean {
  const seen = new Set<string>()
  for (let at = id; !seen.has(at); ) {
    seen.add(at)
    const node = doc.nodes.get(at)
    if (!node) return false
    if (isInTheBox(toText(node.values.ckpt_name))) return true
    const from = linkInto(doc, node, 'clip')?.from
    if (from === undefined) return false
    at = from
  }
  return false
}
