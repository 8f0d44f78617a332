/** Where each open graph is looked at from: kept per workflow and subgraph, over reloads, and read from and written to files. */
import { create } from 'zustand'
import { isArray, isObject, toNumber, type Json, type JsonObject } from '../io/json'

/** As React Flow has it: a place of the graph times `zoom`, and `x` and `y` more, is its place on the canvas. */
export interface Camera {
  readonly x: number
  readonly y: number
  readonly zoom: number
}

interface Kept {
  readonly now: Camera
  /** Where the graph was first looked at from: as long as nobody has moved it, the file stays as it is. */
  readonly first: Camera
}

type Cameras = Readonly<Record<string, Readonly<Record<string, Kept>>>>

/** By workflow, and in it by the way to the subgraph; that of the workflow itself is empty. */
export const useCameras = create<Cameras>(() => ({}))

export const cameraOf = (tab: string, path: string): Camera | undefined => useCameras.getState()[tab]?.[path]?.now

export function keepCamera(tab: string, path: string, now: Camera): void {
  useCameras.setState((all) => ({ [tab]: { ...all[tab], [path]: { now, first: all[tab]?.[path]?.first ?? now } } }))
}

/** Where the graph was put without anybody's wish. */
export const placeCamera = (tab: string, path: string, now: Camera): void => useCameras.setState((all) => ({ [tab]: { ...all[tab], [path]: { now, first: now } } }))

/** A new workflow is looked at as its file says. */
export function openCamera(tab: string, file: JsonObject): void {
  const saved = isObject(file.extra) ? readDs(file.extra.ds) : undefined
  if (saved) placeCamera(tab, '', saved)
}

function readDs(ds: Json | undefined): Camera | undefined {
  if (!isObject(ds) || !isArray(ds.offset) || ds.offset.length < 2) return undefined
  const zoom = toNumber(ds.scale)
  const [left, top] = ds.offset.map((each) => toNumber(each, Number.NaN)) as [number, number]
  return zoom > 0 && Number.isFinite(left) && Number.isFinite(top) ? { x: left * zoom, y: top * zoom, zoom } : undefined
}

/** The file as it is to be opened next time: looked at from where it is now, if that is not where it was. */
export function withCamera(tab: string, file: JsonObject): JsonObject {
  const kept = useCameras.getState()[tab]?.['']
  if (!kept || kept.now === kept.first) return file
  const { x, y, zoom } = kept.now
  const extra = isObject(file.extra) ? file.extra : {}
  const ds = isObject(extra.ds) ? extra.ds : {}
  return { ...file, extra: { ...extra, ds: { ...ds, scale: zoom, offset: [x / zoom, y / zoom] } } }
}

/** All of a workflow's as JSON, for the automatic copy. */
export const writeCameras = (tab: string): Json => Object.fromEntries(Object.entries(useCameras.getState()[tab] ?? {}).map(([path, { now, first }]) => [path, [now, first].flatMap(({ x, y, zoom }) => [x, y, zoom])]))

export function readCameras(tab: string, given: Json | undefined): void {
  const found: Record<string, Kept> = {}
  for (const [path, raw] of Object.entries(isObject(given) ? given : {})) {
    const [x, y, zoom, left, top, scale] = (isArray(raw) ? raw : []).map((each) => toNumber(each, Number.NaN))
    const now = { x: x ?? Number.NaN, y: y ?? Number.NaN, zoom: zoom ?? Number.NaN }
    const first = { x: left ?? Number.NaN, y: top ?? Number.NaN, zoom: scale ?? Number.NaN }
    const isSame = now.x === first.x && now.y === first.y && now.zoom === first.zoom
    if ([...Object.values(now), ...Object.values(first)].every(Number.isFinite) && now.zoom > 0) found[path] = { now, first: isSame ? now : first }
  }
  useCameras.setState({ [tab]: found })
}

export const dropCamera = (tab: string): void => useCameras.setState(({ [tab]: _, ...rest }) => rest, true)
