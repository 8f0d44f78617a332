/** Seeds that change from run to run: each run gets its own when it is queued, and the box shows the one that made the
 *  newest picture, once that is there. A run that fails leaves it; one that somebody typed meanwhile stays. */
import { isObject, parseJson, writeJson, type Json } from '../io/json'
import { nextSeeds, putSeeds, seedsOf, type Seeds } from '../model/seed'
import type { Document } from '../model/document'
import { amend, tabOf } from './documents'
import { serverDefinitions } from './server'

interface Track {
  /** What the boxes show as long as nobody types in them. */
  readonly shown: Seeds
  /** What the newest run in the queue has. */
  readonly last: Seeds
}

const KEY = 'darkroom.seeds'
const MOST = 300 // runs that have not shown their picture yet
const tracks = new Map<string, Track>()
const runs = new Map<string, { readonly tab: string; readonly seeds: Seeds }>()

const write = (seeds: Seeds): Json => Object.fromEntries(seeds)
const read = (raw: Json | undefined): Seeds => new Map(Object.entries(isObject(raw) ? raw : {}))

/** A reload in the middle of a run loses nothing. */
function keep(): void {
  const newest = [...runs].slice(-MOST)
  const text = writeJson({
    tracks: Object.fromEntries([...tracks].filter(([tab]) => tabOf(tab)).map(([tab, { shown, last }]) => [tab, { shown: write(shown), last: write(last) }])),
    runs: Object.fromEntries(newest.map(([prompt, { tab, seeds }]) => [prompt, { tab, seeds: write(seeds) }])),
  })
  try {
    sessionStorage.setItem(KEY, text)
  } catch {
    // without storage, boxes show their old seeds after a reload in the middle of a run
  }
}

/** Takes over what this window knew before it was loaded again. */
export function recallSeeds(): void {
  try {
    const kept = parseJson(sessionStorage.getItem(KEY) ?? '{}')
    if (!isObject(kept)) return
    for (const [tab, raw] of Object.entries(isObject(kept.tracks) ? kept.tracks : {})) if (isObject(raw)) tracks.set(tab, { shown: read(raw.shown), last: read(raw.last) })
    for (const [prompt, raw] of Object.entries(isObject(kept.runs) ? kept.runs : {})) if (isObject(raw)) runs.set(prompt, { tab: String(raw.tab), seeds: read(raw.seeds) })
  } catch {
    // what cannot be read is begun anew
  }
}

/** The workflow as its next run is to have it. The boxes stay as they are. */
export function withNextSeeds(tab: string, doc: Document, random: () => number): Document {
  const defs = serverDefinitions()
  const track = tracks.get(tab)
  return track ? nextSeeds(putSeeds(doc, defs, track.last, track.shown), defs, track.last, random) : doc
}

/** Remembers what a run is given, before it is sent: a short one has shown its picture before the answer comes. `doc`
 *  is what was on the screen. Gives how to forget it, for a run that was refused. */
export function queuedWith(prompt: string, tab: string, doc: Document, sent: Document): () => void {
  const before = tracks.get(tab)
  const seeds = seedsOf(sent, serverDefinitions())
  tracks.set(tab, { shown: seedsOf(doc, serverDefinitions()), last: seeds })
  runs.set(prompt, { tab, seeds })
  keep()
  return () => {
    runs.delete(prompt)
    if (before) tracks.set(tab, before)
    else tracks.delete(tab)
    keep()
  }
}

/** The picture of a run is there: the boxes show what made it. */
export function showSeedsOf(prompt: string): void {
  const run = runs.get(prompt)
  const track = run && tracks.get(run.tab)
  if (!run || !track || !tabOf(run.tab)) return
  runs.delete(prompt)
  const defs = serverDefinitions()
  amend(run.tab, (doc) => putSeeds(doc, defs, run.seeds, track.shown))
  const now = tabOf(run.tab)?.history.present
  if (now) tracks.set(run.tab, { ...track, shown: new Map([...track.shown].map(([key, value]) => [key, run.seeds.get(key) ?? value])) })
  keep()
}

/** The workflow without the seeds that nobody typed: when one of those changes, nobody has changed anything. */
export function withoutSeeds(tab: string, doc: Document): Document {
  const track = tracks.get(tab)
  return track ? putSeeds(doc, serverDefinitions(), new Map([...track.shown.keys()].map((key) => [key, 0])), track.shown) : doc
}
