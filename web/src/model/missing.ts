/** What a workflow needs and the server lacks, in one look: node types by the pack that has them, files by their name. */
import { isArray, isObject, sameJson, toText, type Json } from '../io/json'
import { valueOf } from '../io/widgets'
import { inputOf, type Definitions } from './definitions'
import { linkInto, type Document, type Node } from './document'
import { setValue } from './edit'
import { known } from './library'
import { editEverywhere, nodeAt } from './subgraphs'
import type { Problem } from './validate'
import { defFor } from './varying'

export interface MissingType {
  readonly type: string
  /** Where it comes from, as far as the file says so. */
  readonly pack: string
  readonly nodes: readonly string[]
}

export interface MissingFile {
  readonly value: string
  readonly input: string
  readonly nodes: readonly string[]
  /** What there is instead, and what of it is most alike. */
  readonly choices: readonly string[]
  readonly near: string
  readonly url: string
}

export interface Missing {
  readonly types: readonly MissingType[]
  readonly files: readonly MissingFile[]
  /** All other problems. */
  readonly rest: readonly Problem[]
}

export function missingOf(root: Document, server: Definitions, problems: readonly Problem[]): Missing {
  const types = new Map<string, MissingType>()
  const files = new Map<string, MissingFile>()
  const rest: Problem[] = []
  for (const problem of problems) {
    const node = nodeAt(root, problem.node, server)
    if (node && problem.code === 'unknown_type') {
      const held = types.get(node.type)
      types.set(node.type, { type: node.type, pack: held?.pack || packOf(node), nodes: [...(held?.nodes ?? []), problem.node] })
    } else if (node && problem.code === 'not_in_list') {
      const key = `${problem.input}\u0000${problem.params.value}`
      const held = files.get(key)
      const choices = inputOf(defFor(known(server, root.file).get(node.type), node), problem.input)?.choices ?? []
      const value = problem.params.value ?? ''
      files.set(key, { value, input: problem.input, nodes: [...(held?.nodes ?? []), problem.node], choices: held?.choices ?? choices.filter((each): each is string => typeof each === 'string'), near: problem.params.near ?? '', url: held?.url || urlOf(node, value) })
    } else rest.push(problem)
  }
  return { types: [...types.values()].sort((a, b) => (a.pack || '\uffff').localeCompare(b.pack || '\uffff') || a.type.localeCompare(b.type)), files: [...files.values()], rest }
}

function packOf(node: Node): string {
  const properties = isObject(node.raw.properties) ? node.raw.properties : {}
  return toText(properties.cnr_id) || toText(properties.aux_id)
}

/** Where a file can be had, if the workflow says so. */
function urlOf(node: Node, value: string): string {
  const models = isObject(node.raw.properties) ? node.raw.properties.models : undefined
  const found = (isArray(models) ? models : []).find((each) => isObject(each) && each.name === value.split(/[\\/]/).at(-1))
  const url = isObject(found) ? toText(found.url) : ''
  return /^https?:\/\//.test(url) ? url : ''
}

/** Puts another value in the place of one that is not there, wherever the workflow has it. */
export function replaceEverywhere(root: Document, server: Definitions, file: Pick<MissingFile, 'value' | 'input'>, next: Json): Document {
  const types = known(server, root.file)
  return editEverywhere(root, server, (doc) =>
    [...doc.nodes.values()].reduce((now, node) => {
      const input = inputOf(defFor(types.get(node.type), node), file.input)
      if (input?.widget !== 'combo' || linkInto(doc, node, input.name) || String(valueOf(node, input)) !== file.value) return now
      return input.choices.some((choice) => sameJson(choice, next)) ? setValue(now, node.id, input.name, next) : now
    }, doc),
  )
}
