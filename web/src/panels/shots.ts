/** The pictures that jobs have made, newest first, and what the server knows of each. */
import { useEffect, useMemo, useState } from 'react'
import { api, viewUrl, type JobRecord, type Picture } from '../api/client'
import { t } from '../i18n'
import { isArray, isObject, type Json, type JsonObject } from '../io/json'
import { fixSeed, type RunSeed } from '../model/seed'
import { readSeveral } from '../model/sweep'
import { definitions } from '../state/definitions'
import { activate, commitFile, tabOf } from '../state/documents'
import { serverDefinitions } from '../state/server'
import { ownerOf, useRun } from '../state/run'
import { tell } from '../state/view'

export interface Shot {
  readonly prompt: string
  readonly picture: Picture
  readonly count: number
}

export function useShots(): readonly Shot[] {
  const jobs = useRun((state) => state.jobs)
  const latest = useRun((state) => state.latest)
  return useMemo(() => {
    const found: Shot[] = jobs.flatMap((job) => (job.picture ? [{ prompt: job.id, picture: job.picture, count: job.count }] : []))
    const all = latest && !found.some((shot) => shot.prompt === latest.prompt) ? [{ ...latest, count: 1 }, ...found] : found
    const seen = new Set<string>() // a run that was cached shows the picture of the one before
    return all.filter((shot) => {
      const url = viewUrl(shot.picture)
      return seen.has(url) ? false : seen.add(url)
    })
  }, [jobs, latest])
}

/** The server's record of a job, read again as the job goes on; null until it has come. */
export function useRecord(prompt: string | undefined): JobRecord | null {
  const [record, setRecord] = useState<JobRecord | null>(null)
  const stamp = useRun((state) => {
    const job = state.jobs.find((each) => each.id === prompt)
    return job && `${job.status} ${job.count}`
  })
  useEffect(() => {
    setRecord((old) => (old?.id === prompt ? old : null))
    if (prompt === undefined) return
    let wanted = true
    api.job(prompt).then(
      (answer) => wanted && setRecord(answer),
      () => undefined, // without an answer nothing is claimed
    )
    return () => {
      wanted = false
    }
  }, [prompt, stamp])
  return record
}

export const picturesIn = (record: JobRecord | null): readonly Picture[] => [...(record?.outputs.values() ?? [])].flat()

/** The nodes that a picture rests on, the nearest first; all others after them. */
function nearest(prompt: JsonObject, record: JobRecord, picture: Picture | undefined): readonly string[] {
  const url = picture && viewUrl(picture)
  const order = new Set([...record.outputs].filter(([, pictures]) => pictures.some((each) => viewUrl(each) === url)).map(([node]) => node))
  for (const node of order) {
    const entry = prompt[node]
    for (const value of Object.values(isObject(entry) && isObject(entry.inputs) ? entry.inputs : {})) if (isArray(value) && value.length === 2) order.add(String(value[0]))
  }
  return [...order, ...Object.keys(prompt).filter((node) => !order.has(node))]
}

/** The values that a job ran with, of those inputs that change from run to run; first the one that made the picture. */
export function seedsIn(record: JobRecord | null, picture?: Picture): readonly RunSeed[] {
  const prompt = record?.prompt
  if (!record || !isObject(prompt)) return []
  return nearest(prompt, record, picture).flatMap((node) => {
    const entry = prompt[node]
    if (!isObject(entry) || !isObject(entry.inputs)) return []
    const { class_type: type, inputs } = entry
    const def = definitions().get(String(type))
    return (def?.inputs ?? []).flatMap((input) => {
      const value = input.control === 'none' ? undefined : usedFor(record, picture, node, input.name, inputs[input.name])
      return value === undefined || isArray(value) ? [] : [{ node, type: String(type), input: input.name, value }]
    })
  })
}

/** The value that an input had where the picture was made: of several, that of the picture's cell. */
function usedFor(record: JobRecord, picture: Picture | undefined, node: string, input: string, value: Json | undefined): Json | undefined {
  const several = readSeveral(value)
  if (!several) return value
  const axis = record.axes.findIndex(({ inputs }) => inputs.some((one) => one.node === node && one.input === input))
  return several.values[picture?.cell?.[axis] ?? -1]
}

/** Puts the seeds of a picture into its workflow, to stay. */
export function keepSeeds(record: JobRecord, picture: Picture): void {
  const owner = ownerOf(record.id)
  if (owner !== undefined && tabOf(owner)) activate(owner)
  let kept = ''
  commitFile(t('do.keepSeed'), (doc) =>
    seedsIn(record, picture).reduceRight((now, seed) => {
      const next = fixSeed(now, serverDefinitions(), seed)
      if (next) kept = String(seed.value)
      return next ?? now
    }, doc),
  )
  tell(kept ? t('say.seedKept', { seed: kept }) : t('say.noSeed'), kept ? 'info' : 'error')
}
