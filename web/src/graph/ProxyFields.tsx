import { useMemo } from 'react'
import { isArray, isObject } from '../io/json'
import type { Node } from '../model/document'
import { proxyFields } from '../model/proxies'
import { holding } from '../model/validate'
import { useDefinitions } from '../state/definitions'
import { useDoc, useDocuments, usePrefix } from '../state/documents'
import { useRun } from '../state/run'
import { Field } from '../widgets/Field'

/** The fields of inner nodes that a subgraph's instance shows. */
export function ProxyFields({ node }: { node: Node }) {
  return isObject(node.raw.properties) && isArray(node.raw.properties.proxyWidgets) ? <Shown node={node} /> : null
}

function Shown({ node }: { node: Node }) {
  const doc = useDoc()
  const server = useDefinitions((state) => state.definitions)
  const tab = useDocuments((state) => state.active)
  const told = useRun((state) => state.problems[tab])
  const all = useDocuments((state) => {
    const root = state.tabs.find((each) => each.id === tab)?.history.present
    return root && told ? holding(root, server, told) : undefined
  })
  const prefix = usePrefix()
  const fields = useMemo(() => (doc ? proxyFields(doc, node, server) : []), [doc, node, server])
  return fields.map((field) => (
    <Field key={`${field.node.id} ${field.input.name}`} node={field.node} input={field.input} label={field.label} linked={field.linked} isProxy problem={all?.find((problem) => problem.node === prefix + field.node.id && problem.input === field.input.name)} />
  ))
}
