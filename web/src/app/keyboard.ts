/** Keys to commands. Bare letters work only outside text fields, and not while an input method is open. */
import { focusNode, goTo, neighbour, pointed } from '../graph/camera'
import { activeDoc } from '../state/documents'
import { useSettings } from '../state/settings'
import { select, selected, setView, useView } from '../state/view'
import { COMMANDS, keysFor } from './commands'
import { copySelected, nudge, pasteText, removeSelected } from './edits'
import { openText, takeDrop } from './files'

/** A key press as commands name it: Mod+Shift+Z. */
export function pressed(event: KeyboardEvent): string {
  const mod = event.ctrlKey || event.metaKey
  const letter = event.key.length === 1 ? event.key.toUpperCase() : event.key
  const base = event.altKey && /^Key[A-Z]$/.test(event.code) ? event.code.slice(3) : letter
  const isSign = base.length === 1 && !/[A-Z0-9]/.test(base)
  return [mod && 'Mod', event.altKey && 'Alt', event.shiftKey && !isSign && 'Shift', base].filter(Boolean).join('+')
}

export const isTyping = (target: EventTarget | null): boolean => target instanceof HTMLElement && (target.isContentEditable || target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type !== 'checkbox') || target instanceof HTMLSelectElement)
const isOpen = (): boolean => useView.getState().palette !== null || document.querySelector('dialog[open]') !== null

function onKey(event: KeyboardEvent): void {
  if (event.isComposing || event.defaultPrevented) return
  const keys = pressed(event)
  const typing = isTyping(event.target)
  if (keys === 'Escape') return escape(event, typing)
  if (isOpen()) return
  const found = COMMANDS.find((command) => keysFor(command).includes(keys))
  if (found && (!typing || found.anywhere)) {
    const isBare = !/Mod|Alt|F\d|Delete|Backspace/.test(keys)
    if (isBare && (!useSettings.getState().letterKeys || event.target instanceof HTMLButtonElement)) return
    if (keys === 'Mod+C' || keys === 'Mod+X') {
      if (window.getSelection()?.toString()) return
      return // the browser's own copy event follows
    }
    event.preventDefault()
    found.run()
    return
  }
  if (!typing && !isOpen()) walk(event, keys)
}

function escape(event: KeyboardEvent, typing: boolean): void {
  const view = useView.getState()
  if (view.menu || view.palette) return setView({ menu: null, palette: null })
  const card = event.target instanceof HTMLElement ? event.target.closest<HTMLElement>('[data-node]') : null
  if (typing && card) {
    event.preventDefault()
    card.focus({ preventScroll: true })
  } else if (!typing) {
    if (document.activeElement?.closest('[data-node]')) document.getElementById('canvas')?.focus()
    if (!view.dragging && document.querySelector('dialog[open]') === null) select([])
  }
}

function walk(event: KeyboardEvent, keys: string): void {
  const target = event.target instanceof HTMLElement ? event.target : null
  if (target && target.closest('button, [role="tab"], a, .side, .topbar')) return
  const focused = target?.closest<HTMLElement>('[data-node]')?.dataset.node ?? [...selected()][0]
  const arrow = /^(Shift\+)?(Alt\+)?Arrow(Left|Right|Up|Down)$/.exec(keys.replace('Alt+Shift+', 'Shift+Alt+'))
  if (arrow) {
    event.preventDefault()
    const key = event.key
    if (event.altKey || event.shiftKey) {
      const by = event.shiftKey ? 50 : 10
      return nudge([key === 'ArrowLeft' ? -by : key === 'ArrowRight' ? by : 0, key === 'ArrowUp' ? -by : key === 'ArrowDown' ? by : 0])
    }
    const first = activeDoc()?.nodes.keys().next().value
    const next = focused === undefined ? first : (neighbour(focused, key) ?? focused)
    if (next !== undefined) goTo(next)
  } else if (keys === 'Enter' && focused !== undefined) {
    event.preventDefault()
    const card = document.querySelector<HTMLElement>(`[data-node="${CSS.escape(focused)}"]`)
    const field = card?.querySelector<HTMLElement>('.field input:not([disabled]), .field select:not([disabled]), .field textarea:not([disabled]), .field button:not([disabled]), .note textarea')
    if (field) field.focus()
    else focusNode(focused)
  }
}

function onCopy(event: ClipboardEvent): void {
  if (isTyping(event.target) || isOpen() || window.getSelection()?.toString() || !selected().size) return
  const text = copySelected()
  if (!text) return
  event.preventDefault()
  event.clipboardData?.setData('text/plain', text)
  if (event.type === 'cut') removeSelected()
}

function onPaste(event: ClipboardEvent): void {
  if (isTyping(event.target) || isOpen()) return
  const files = [...(event.clipboardData?.files ?? [])]
  const text = event.clipboardData?.getData('text/plain') ?? ''
  if (text && pasteText(text, false)) event.preventDefault()
  else if (files.length) files.forEach((file) => void takeDrop(file, pointed()))
  else if (/^\s*\{/.test(text)) openText(text, 'clipboard')
}

export function listen(): () => void {
  window.addEventListener('keydown', onKey)
  document.addEventListener('copy', onCopy)
  document.addEventListener('cut', onCopy)
  document.addEventListener('paste', onPaste)
  return () => {
    window.removeEventListener('keydown', onKey)
    document.removeEventListener('copy', onCopy)
    document.removeEventListener('cut', onCopy)
    document.removeEventListener('paste', onPaste)
  }
}
