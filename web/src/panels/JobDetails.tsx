import { useEffect, useState } from 'react'
import { api, type Job, type JobRecord } from '../api/client'
import { Icon } from '../app/Icon'
import { about, nodeName, said, seconds, useT } from '../i18n'
import { isArray, isObject, toText, type Json } from '../io/json'
import { useDefinitions } from '../state/definitions'

/** What each node of a job cost, the dearest first; what was cached cost nothing. */
export function JobDetails({ job }: { job: Job }) {
  const t = useT()
  const definitions = useDefinitions((state) => state.definitions)
  const [record, setRecord] = useState<JobRecord | null | undefined>(undefined)
  useEffect(() => {
    let wanted = true
    api.job(job.id).then(
      (answer) => wanted && setRecord(answer),
      () => wanted && setRecord(null),
    )
    return () => {
      wanted = false
    }
  }, [job])
  if (!record) return <p className="quiet">{record === null ? t('side.noRecord') : '…'}</p>
  const names = namesIn(record)
  const rows = [...record.timings].map(([id, timing]) => ({ id, ...timing, name: names.titles.get(id) ?? typeName(names.types.get(id)) ?? id }))
  rows.sort((a, b) => (b.seconds ?? -1) - (a.seconds ?? -1))
  const most = Math.max(0.001, ...rows.map((row) => row.seconds ?? 0))
  const cached = rows.filter((row) => row.cached).length
  return (
    <div className="costs">
      {[...record.warnings].flatMap(([id, warnings]) =>
        warnings.map((warning, at) => (
          <p key={`${id} ${at}`} className="card-notice warning">
            <Icon name="warn" />
            {about(names.titles.get(id) ?? typeName(names.types.get(id)) ?? id, said(warning.message))}
          </p>
        )),
      )}
      <p className="quiet">{t('side.costs', { count: rows.length, cached })}</p>
      <ul>
        {rows.map((row) => (
          <li key={row.id}>
            <span className="cost-name" title={row.name}>
              {row.name}
            </span>
            <i style={{ width: `${row.cached ? 0 : (70 * (row.seconds ?? 0)) / most}px` }} />
            <span className={row.cached ? 'cached' : ''}>{row.cached ? t('node.cached') : row.seconds === null ? '–' : t('node.seconds', { seconds: seconds(row.seconds) })}</span>
          </li>
        ))}
      </ul>
    </div>
  )

  function typeName(type: string | undefined): string | undefined {
    const def = type === undefined ? undefined : definitions.get(type)
    return def ? nodeName(def) : type
  }
}

function namesIn(record: JobRecord): { types: Map<string, string>; titles: Map<string, string> } {
  const types = new Map<string, string>()
  const titles = new Map<string, string>()
  const prompt: Json = record.prompt
  for (const [id, node] of Object.entries(isObject(prompt) ? prompt : {})) if (isObject(node)) types.set(id, toText(node.class_type))
  const workflow: Json = record.workflow
  for (const node of isObject(workflow) && isArray(workflow.nodes) ? workflow.nodes : []) if (isObject(node) && typeof node.title === 'string') titles.set(String(node.id), node.title)
  return { types, titles }
}
