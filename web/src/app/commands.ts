/** Every action once: menus, the command palette, shortcuts and the shortcut list are made of this. */
import { api } from '../api/client'
import { fit, focusNode, goTo, middle, zoom } from '../graph/camera'
import { t, type TextKey } from '../i18n'
import { BYPASSED, MUTED } from '../model/document'
import { loadDefinitions } from '../state/definitions'
import { activeDoc, activeTab, redo, undo, useDocuments } from '../state/documents'
import { refreshJobs } from '../state/run'
import { isLight, setSettings, useSettings } from '../state/settings'
import { say, select, selected, setView, tell } from '../state/view'
import { addNote, alignNodes, arrangeNodes, copySelected, distributeNodes, duplicate, groupSelected, isThere, pasteLinked, removeSelected, toggleFlag, toggleMode } from './edits'
import { chooseFile, downloadApi, downloadOpen, openEmpty, openExample, saveAs } from './files'
import { askClose } from './closing'
import { autoOff } from './auto'
import { runOpen, runTo } from './queue'
import { clearWaiting, togglePause } from '../panels/queueActions'
import { enterSelected, groupIntoSubgraph, leaveOne, unpackSelected } from './subgraphs'

export interface Command {
  readonly id: string
  readonly title: TextKey
  readonly keys: readonly string[]
  readonly group: 'general' | 'graph'
  readonly run: () => void
  /** Works while a text field has the focus as well. */
  readonly anywhere?: boolean
}

const one = (): string | undefined => [...selected()][0]
const openSide = (panel: 'gallery' | 'queue' | 'problems' | 'help'): void => {
  setSettings({ sideOpen: true })
  setView({ panel })
  // the keys go where the eyes go: to the first row, or the panel's tab
  requestAnimationFrame(() => (document.querySelector<HTMLElement>('.side-body [data-job], .side-body .help') ?? document.getElementById(`tab-${panel}`))?.focus())
}
const addAtMiddle = (): void => setView({ palette: { kind: 'add', at: null, place: middle(), filter: {}, pending: null } })
const openPalette = (kind: 'goto' | 'commands' | 'connect' | 'disconnect' | 'tabs'): void => setView({ palette: { kind, at: null, place: null, filter: {}, pending: null } })

async function save(): Promise<void> {
  const tab = activeTab()
  if (!tab) return
  if (!tab.path) return setView({ dialog: 'open', shown: null }), askName()
  if ((await saveAs(tab, tab.path.replace(/\.json$/, ''), true)) === 'changed') {
    tell(t('say.conflict', { name: tab.name }), 'error')
    askName()
  }
}

function askName(): void {
  setView({ dialog: null })
  window.dispatchEvent(new CustomEvent('darkroom:save-as'))
}

/** One stop for all: the running job, and running by itself. */
export function stop(): void {
  autoOff()
  void api.interrupt().then(() => tell(t('run.stopped')))
}

export const COMMANDS: readonly Command[] = [
  { id: 'run', title: 'cmd.run', keys: ['Mod+Enter'], group: 'general', run: () => void runOpen(), anywhere: true },
  { id: 'runNext', title: 'cmd.runNext', keys: ['Mod+Shift+Enter'], group: 'general', run: () => void runOpen(1, true), anywhere: true },
  { id: 'stop', title: 'cmd.stop', keys: ['Mod+Alt+Enter'], group: 'general', run: stop, anywhere: true },
  { id: 'undo', title: 'cmd.undo', keys: ['Mod+Z'], group: 'general', run: () => step(undo(), 'say.undone', 'say.nothingToUndo') },
  { id: 'redo', title: 'cmd.redo', keys: ['Mod+Shift+Z', 'Mod+Y'], group: 'general', run: () => step(redo(), 'say.redone', 'say.nothingToRedo') },
  { id: 'save', title: 'cmd.save', keys: ['Mod+S'], group: 'general', run: () => void save(), anywhere: true },
  { id: 'saveAs', title: 'cmd.saveAs', keys: ['Mod+Shift+S'], group: 'general', run: askName, anywhere: true },
  { id: 'open', title: 'cmd.open', keys: ['Mod+O'], group: 'general', run: chooseFile, anywhere: true },
  { id: 'workflows', title: 'cmd.workflows', keys: ['W'], group: 'general', run: () => setView({ dialog: 'open' }) },
  { id: 'new', title: 'cmd.new', keys: [], group: 'general', run: () => void openEmpty() },
  { id: 'default', title: 'cmd.default', keys: [], group: 'general', run: openExample },
  { id: 'download', title: 'cmd.download', keys: [], group: 'general', run: downloadOpen },
  { id: 'downloadApi', title: 'cmd.downloadApi', keys: [], group: 'general', run: downloadApi },
  { id: 'tabs', title: 'cmd.tabs', keys: ['T'], group: 'general', run: () => openPalette('tabs') },
  { id: 'closeTab', title: 'cmd.closeTab', keys: [], group: 'general', run: () => askClose(useDocuments.getState().active) },
  { id: 'commands', title: 'cmd.commands', keys: ['Mod+K'], group: 'general', run: () => openPalette('commands'), anywhere: true },
  { id: 'queue', title: 'cmd.queue', keys: ['Q'], group: 'general', run: () => (openSide('queue'), void refreshJobs()) },
  { id: 'pauseQueue', title: 'cmd.pauseQueue', keys: ['Alt+Q'], group: 'general', run: togglePause, anywhere: true },
  { id: 'clearQueue', title: 'cmd.clearQueue', keys: ['Alt+Shift+Q'], group: 'general', run: clearWaiting, anywhere: true },
  { id: 'gallery', title: 'cmd.gallery', keys: ['G'], group: 'general', run: () => openSide('gallery') },
  { id: 'problems', title: 'cmd.problems', keys: [], group: 'general', run: () => openSide('problems') },
  { id: 'help', title: 'cmd.help', keys: ['H'], group: 'general', run: () => openSide('help') },
  { id: 'side', title: 'cmd.side', keys: ['F'], group: 'general', run: () => setSettings({ sideOpen: !useSettings.getState().sideOpen }) },
  { id: 'reload', title: 'cmd.reload', keys: ['R'], group: 'general', run: () => void loadDefinitions().then((done) => tell(t(done ? 'say.reloaded' : 'app.noServer'), done ? 'info' : 'error')) },
  { id: 'theme', title: 'cmd.theme', keys: [], group: 'general', run: toggleTheme },
  { id: 'language', title: 'cmd.language', keys: [], group: 'general', run: () => setSettings({ language: useSettings.getState().language === 'en' ? 'zh' : 'en' }) },
  { id: 'region', title: 'cmd.region', keys: ['F6'], group: 'general', run: nextRegion, anywhere: true },
  { id: 'settings', title: 'cmd.settings', keys: ['Mod+,'], group: 'general', run: () => setView({ dialog: 'settings' }), anywhere: true },
  { id: 'packs', title: 'cmd.packs', keys: [], group: 'general', run: () => setView({ dialog: 'packs' }), anywhere: true },
  { id: 'shortcuts', title: 'cmd.shortcuts', keys: ['?'], group: 'general', run: () => setView({ dialog: 'shortcuts' }) },

  { id: 'add', title: 'cmd.add', keys: ['A', 'Shift+A', 'N'], group: 'graph', run: addAtMiddle },
  { id: 'goto', title: 'cmd.goto', keys: ['Mod+F'], group: 'graph', run: () => openPalette('goto'), anywhere: true },
  { id: 'connect', title: 'cmd.connect', keys: ['C'], group: 'graph', run: () => one() && openPalette('connect') },
  { id: 'disconnect', title: 'cmd.disconnect', keys: ['X'], group: 'graph', run: () => one() && openPalette('disconnect') },
  { id: 'copy', title: 'cmd.copy', keys: ['Mod+C'], group: 'graph', run: () => void navigator.clipboard?.writeText(copySelected()).catch(() => undefined) },
  { id: 'cut', title: 'cmd.cut', keys: ['Mod+X'], group: 'graph', run: () => (void navigator.clipboard?.writeText(copySelected()).catch(() => undefined), removeSelected()) },
  { id: 'pasteLinked', title: 'cmd.pasteLinked', keys: ['Mod+Shift+V'], group: 'graph', run: () => void pasteLinked() },
  { id: 'duplicate', title: 'cmd.duplicate', keys: ['Mod+D'], group: 'graph', run: duplicate },
  { id: 'delete', title: 'cmd.delete', keys: ['Delete', 'Backspace'], group: 'graph', run: removeSelected },
  { id: 'selectAll', title: 'cmd.selectAll', keys: ['Mod+A'], group: 'graph', run: () => select(activeDoc()?.nodes.keys() ?? []) },
  { id: 'mute', title: 'cmd.mute', keys: ['Mod+M'], group: 'graph', run: () => toggleMode(MUTED) },
  { id: 'bypass', title: 'cmd.bypass', keys: ['Mod+B'], group: 'graph', run: () => toggleMode(BYPASSED) },
  { id: 'collapse', title: 'cmd.collapse', keys: ['Alt+C'], group: 'graph', run: () => toggleFlag('collapsed') },
  { id: 'pin', title: 'cmd.pin', keys: ['P'], group: 'graph', run: () => toggleFlag('pinned') },
  { id: 'rename', title: 'cmd.rename', keys: ['F2'], group: 'graph', run: () => setView({ renaming: one() ?? null }) },
  { id: 'group', title: 'cmd.group', keys: ['Mod+G'], group: 'graph', run: groupSelected },
  { id: 'note', title: 'cmd.note', keys: [], group: 'graph', run: () => addNote() },
  { id: 'arrange', title: 'cmd.arrange', keys: ['L'], group: 'graph', run: arrangeNodes },
  { id: 'subgraph', title: 'cmd.subgraph', keys: ['Mod+Shift+E'], group: 'graph', run: groupIntoSubgraph },
  { id: 'unpack', title: 'cmd.unpack', keys: [], group: 'graph', run: unpackSelected },
  { id: 'enterSubgraph', title: 'cmd.enterSubgraph', keys: ['Mod+ArrowDown'], group: 'graph', run: enterSelected },
  { id: 'leaveSubgraph', title: 'cmd.leaveSubgraph', keys: ['Mod+ArrowUp'], group: 'graph', run: leaveOne },
  { id: 'alignLeft', title: 'cmd.alignLeft', keys: [], group: 'graph', run: () => alignNodes('left') },
  { id: 'alignRight', title: 'cmd.alignRight', keys: [], group: 'graph', run: () => alignNodes('right') },
  { id: 'alignTop', title: 'cmd.alignTop', keys: [], group: 'graph', run: () => alignNodes('top') },
  { id: 'alignBottom', title: 'cmd.alignBottom', keys: [], group: 'graph', run: () => alignNodes('bottom') },
  { id: 'distributeAcross', title: 'cmd.distributeAcross', keys: [], group: 'graph', run: () => distributeNodes(true) },
  { id: 'distributeDown', title: 'cmd.distributeDown', keys: [], group: 'graph', run: () => distributeNodes(false) },
  { id: 'several', title: 'several.make', keys: ['Alt+S'], group: 'graph', run: () => (document.activeElement?.closest('.field')?.querySelector<HTMLElement>('.to-several') ?? document.querySelector<HTMLElement>('.react-flow__node.selected .to-several'))?.click(), anywhere: true },
  { id: 'runTo', title: 'cmd.runTo', keys: ['Alt+Enter'], group: 'graph', run: () => void runTo(one()) },
  { id: 'fit', title: 'cmd.fit', keys: ['.'], group: 'graph', run: () => fit(selected().size > 1 ? selected() : undefined) },
  { id: 'zoomReset', title: 'cmd.zoomReset', keys: ['Mod+0'], group: 'graph', run: () => zoom('reset') },
]

/** From the graph to the side panel to the bar on top, and round again. */
function nextRegion(): void {
  const regions = ['#canvas', '.side', '.topbar'].map((name) => document.querySelector<HTMLElement>(name)).filter((each) => each !== null)
  const at = regions.findIndex((region) => region.contains(document.activeElement))
  const next = regions[(at + 1) % regions.length]
  const first = next?.id === 'canvas' ? next : (next?.querySelector<HTMLElement>('[aria-selected="true"], [aria-current="true"]') ?? next?.querySelector<HTMLElement>('button'))
  first?.focus()
}

function step(name: string, done: TextKey, nothing: TextKey): void {
  if (name) {
    const held = new Set([...selected()].filter(isThere))
    if (held.size !== selected().size) select(held)
    tell(t(done, { name }))
    if (document.activeElement === document.body) [...held][0] ? focusNode([...held][0] as string) : document.getElementById('canvas')?.focus()
  } else say(t(nothing))
}

export function toggleTheme(): void {
  setSettings({ theme: isLight() ? 'dark' : 'light' })
}

export const command = (id: string): Command => COMMANDS.find((each) => each.id === id) as Command
/** The keys of a command: the user's own, or those it comes with. */
export const keysFor = (command: Command): readonly string[] => useSettings.getState().keys[command.id] ?? command.keys
export const keysOf = (id: string): string => shown(keysFor(command(id))[0] ?? '')
/** For the tip of a button: what it does, and its keys if it has any. */
export const hintOf = (title: string, id: string): string => (keysOf(id) ? `${title} (${keysOf(id)})` : title)

const isMac = navigator.platform.startsWith('Mac')
const ARROWS: Readonly<Record<string, string>> = { ArrowUp: '↑', ArrowDown: '↓', ArrowLeft: '←', ArrowRight: '→' }
export const shown = (keys: string): string => keys.replace(/Arrow\w+/g, (name) => ARROWS[name] ?? name).replace('Mod', isMac ? '⌘' : 'Ctrl').replaceAll('+', isMac ? ' ' : ' + ')

/** Goes to a node by its id; here so that panels need not know the graph. */
export const go = goTo
