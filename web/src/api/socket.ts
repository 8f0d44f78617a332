/** The live side: messages of our runs, checked as they come. */
import { shownBy } from '../io/api'
import { isArray, isObject, parseJson, toNumber, toText, type Json, type JsonObject } from '../io/json'
import { picturesOf, textsOf, verdictOf, type Picture, type Verdict, type Warning } from './client'

export type LiveMessage =
  | { readonly type: 'status'; readonly remaining: number }
  | { readonly type: 'edited'; readonly file: string; readonly by: string; readonly modified: number }
  | { readonly type: 'types' }
  | { readonly type: 'start'; readonly prompt: string }
  | { readonly type: 'cached'; readonly prompt: string; readonly nodes: readonly string[] }
  | { readonly type: 'executing'; readonly prompt: string; readonly node: string | null }
  | { readonly type: 'progress'; readonly prompt: string; readonly node: string; readonly value: number; readonly max: number }
  | { readonly type: 'executed'; readonly prompt: string; readonly node: string; readonly pictures: readonly Picture[]; readonly verdict: Verdict | null; readonly texts: readonly string[] }
  | { readonly type: 'retried'; readonly prompt: string; readonly node: string; readonly how: string }
  | { readonly type: 'warned'; readonly prompt: string; readonly node: string; readonly warning: Warning }
  | { readonly type: 'finished'; readonly prompt: string; readonly nodes: readonly string[] }
  | { readonly type: 'success'; readonly prompt: string }
  | { readonly type: 'interrupted'; readonly prompt: string }
  | { readonly type: 'error'; readonly prompt: string; readonly node: string; readonly input: string; readonly message: string; readonly kind: string }
  | { readonly type: 'preview'; readonly prompt: string; readonly node: string; readonly picture: Blob }

export function readMessage(text: string): LiveMessage | null {
  let frame: Json
  try {
    frame = parseJson(text)
  } catch {
    return null
  }
  if (!isObject(frame) || !isObject(frame.data)) return null
  return readData(toText(frame.type), frame.data)
}

function readData(type: string, data: JsonObject): LiveMessage | null {
  const prompt = toText(data.prompt_id)
  const node = shownBy(toText(data.display_node) || toText(data.node))
  switch (type) {
    case 'status': {
      const info = isObject(data.status) && isObject(data.status.exec_info) ? data.status.exec_info : {}
      return { type: 'status', remaining: toNumber(info.queue_remaining) }
    }
    case 'workflow_edited':
      return { type: 'edited', file: toText(data.file), by: toText(data.by), modified: toNumber(data.modified) }
    case 'node_types_changed':
      return { type: 'types' }
    case 'execution_start':
      return { type: 'start', prompt }
    case 'execution_cached':
      return { type: 'cached', prompt, nodes: (isArray(data.nodes) ? data.nodes : []).map(String) }
    case 'executing':
      return { type: 'executing', prompt, node: data.node === null ? null : node }
    case 'progress':
      return { type: 'progress', prompt, node, value: toNumber(data.value), max: toNumber(data.max, 1) }
    case 'progress_state': {
      const nodes = isObject(data.nodes) ? Object.entries(data.nodes) : []
      return { type: 'finished', prompt, nodes: nodes.filter(([, each]) => isObject(each) && each.state === 'finished').map(([id]) => id) }
    }
    case 'execution_retried':
      return { type: 'retried', prompt, node: shownBy(toText(data.node_id)), how: toText(data.how) }
    case 'execution_warning':
      return { type: 'warned', prompt, node: shownBy(toText(data.display_node) || toText(data.node_id)), warning: { input: toText(data.input_name), message: toText(data.message) } }
    case 'executed':
      return { type: 'executed', prompt, node, pictures: picturesOf(data.output), verdict: verdictOf(data.output), texts: textsOf(data.output) }
    case 'execution_success':
      return { type: 'success', prompt }
    case 'execution_interrupted':
      return { type: 'interrupted', prompt }
    case 'execution_error':
      return { type: 'error', prompt, node: toText(data.node_id), input: toText(data.input_name), message: toText(data.exception_message), kind: toText(data.exception_type) }
    default:
      return null
  }
}

/** A preview frame: type 4 says whose it is, type 1 does not. */
export function readFrame(buffer: ArrayBuffer): LiveMessage | null {
  if (buffer.byteLength < 8) return null
  const view = new DataView(buffer)
  const kind = view.getUint32(0)
  if (kind === 1) return { type: 'preview', prompt: '', node: '', picture: new Blob([buffer.slice(8)], { type: view.getUint32(4) === 2 ? 'image/png' : 'image/jpeg' }) }
  if (kind !== 4) return null
  const length = view.getUint32(4)
  const about = parseJson(new TextDecoder().decode(buffer.slice(8, 8 + length)))
  if (!isObject(about)) return null
  return {
    type: 'preview',
    prompt: toText(about.prompt_id),
    node: toText(about.display_node_id) || toText(about.node_id),
    picture: new Blob([buffer.slice(8 + length)], { type: toText(about.image_type, 'image/jpeg') }),
  }
}

export function connectSocket(clientId: string, hear: (message: LiveMessage) => void, onState: (open: boolean) => void): () => void {
  let socket: WebSocket | null = null
  let timer = 0
  let wait = 500
  let closed = false
  const open = (): void => {
    const url = new URL(`api/ws?clientId=${clientId}`, document.baseURI)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    socket = new WebSocket(url)
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => {
      wait = 500
      socket?.send(JSON.stringify({ type: 'feature_flags', data: { supports_preview_metadata: true, supports_progress_deltas: true } }))
      onState(true)
    }
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      const message = typeof event.data === 'string' ? readMessage(event.data) : readFrame(event.data)
      if (message) hear(message)
    }
    socket.onclose = () => {
      if (closed) return
      onState(false)
      timer = window.setTimeout(open, wait)
      wait = Math.min(wait * 1.6, 2500)
    }
  }
  open()
  return () => {
    closed = true
    clearTimeout(timer)
    socket?.close()
  }
}
