/** The pictures that jobs have made, newest first, and what the server knows of each. */
import { useEffect, useMemo, useState } from 'react'
import { api, viewUrl, type JobRecord, type Picture } from '../api/client'
import { t } from '../i18n'
import { isObject, type Json } from '../io/json'
import { controlOf } from '../io/widgets'
import { setValue } from '../model/edit'
import { definitions } from '../state/definitions'
import { activate, commit, tabOf } from '../state/documents'
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

/** The server's record of a job; null until it has come. */
export function useRecord(prompt: string | undefined): JobRecord | null {
  const [record, setRecord] = useState<JobRecord | null>(null)
  useEffect(() => {
    setRecord(null)
    if (prompt === undefined) return
    let wanted = true
    api.job(prompt).then(
      (answer) => wanted && setRecord(answer),
      () => undefined, // without an answer nothing is claimed
    )
    return () => {
      wanted = false
    }
  }, [prompt])
  return record
}

export const picturesIn = (record: JobRecord | null): readonly Picture[] => [...(record?.outputs.values() ?? [])].flat()

interface Seed {
  readonly node: string
  readonly type: string
  readonly input: string
  readonly value: Json
}

/** The values that a job ran with, of those inputs that change from run to run. */
export function seedsIn(record: JobRecord | null): readonly Seed[] {
  const prompt = record?.prompt
  if (!isObject(prompt)) return []
  return Object.entries(prompt).flatMap(([node, entry]) => {
    if (!isObject(entry) || !isObject(entry.inputs)) return []
    const { class_type: type, inputs } = entry
    const def = definitions().get(String(type))
    return (def?.inputs ?? []).flatMap((input) => {
      const value = inputs[input.name]
      return input.control === 'none' || value === undefined || Array.isArray(value) ? [] : [{ node, type: String(type), input: input.name, value }]
    })
  })
}

/** Puts the seeds of a picture into its workflow, to stay. */
export function keepSeeds(record: JobRecord): void {
  const owner = ownerOf(record.id)
  if (owner !== undefined && tabOf(owner)) activate(owner)
  let kept = ''
  commit(t('do.keepSeed'), (doc) =>
    seedsIn(record).reduce((now, seed) => {
      if (now.nodes.get(seed.node)?.type !== seed.type) return now
      kept = String(seed.value)
      return setValue(setValue(now, seed.node, seed.input, seed.value), seed.node, controlOf(seed.input), 'fixed')
    }, doc),
  )
  tell(kept ? t('say.seedKept', { seed: kept }) : t('say.noSeed'), kept ? 'info' : 'error')
}
