/** What is looked at: nothing here is saved with a workflow or undone. */
import { create } from 'zustand'
import type { Picture } from '../api/client'
import type { Json } from '../io/json'
import type { Point } from '../model/document'
import type { Filter } from '../model/search'
import type { Ends } from '../model/edit'

export interface Palette {
  readonly kind: 'add' | 'goto' | 'commands' | 'connect' | 'disconnect' | 'choose' | 'tabs' | 'replace'
  readonly at: Point | null
  /** In the graph's own coordinates: where a new node goes. */
  readonly place: Point | null
  readonly filter: Filter
  readonly pending: { readonly from?: string; readonly fromSlot?: number; readonly to?: string; readonly input?: string; /** A link that moves there. */ readonly moved?: string } | null
}

export interface Dragging {
  readonly node: string
  readonly side: 'from' | 'to'
  readonly type: string
  readonly ends: Partial<Ends>
  /** The link that was taken off an input, and is in the hand now. */
  readonly picked?: string
}

/** The field whose picture gets a mask. */
export interface MaskAsked {
  readonly node: string
  readonly input: string
}

interface View {
  readonly selected: ReadonlySet<string>
  readonly palette: Palette | null
  readonly menu: { readonly at: Point; readonly kind: 'node' | 'canvas' | 'group' | 'link' | 'dot'; readonly id: string; readonly place: Point } | null
  readonly dialog: 'shortcuts' | 'settings' | 'open' | 'text' | 'clear' | 'models' | 'packs' | null
  readonly textField: { readonly node: string; readonly input: string } | null
  readonly dragging: Dragging | null
  readonly renaming: string | null
  readonly toast: { readonly text: string; readonly kind: 'info' | 'error'; readonly at: number; readonly undo?: boolean } | null
  readonly said: string
  readonly dropping: boolean
  readonly dropped: { readonly file: File; readonly workflow: string; readonly at: Point; /** Made from another program's settings. */ readonly made: { readonly workflow: Json; readonly program: string; readonly left: readonly string[] } | null } | null
  readonly panel: 'gallery' | 'queue' | 'problems' | 'help'
  readonly shown: string | null
  readonly mask: MaskAsked | null
  readonly compare: readonly [Picture, Picture] | null
}

export const useView = create<View>(() => ({
  selected: new Set(),
  palette: null,
  menu: null,
  dialog: null,
  textField: null,
  dragging: null,
  renaming: null,
  toast: null,
  said: '',
  dropping: false,
  dropped: null,
  panel: 'gallery',
  shown: null,
  mask: null,
  compare: null,
}))

export const setView = (change: Partial<View>): void => useView.setState(change)
export const select = (ids: Iterable<string>): void => useView.setState({ selected: new Set(ids) })
export const selected = (): ReadonlySet<string> => useView.getState().selected

/** Says it on screen and to screen readers. */
export function tell(text: string, kind: 'info' | 'error' = 'info'): void {
  useView.setState({ toast: { text, kind, at: Date.now() }, said: text })
}

/** Says it to screen readers only. */
export const say = (text: string): void => useView.setState({ said: text })
