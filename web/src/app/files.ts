/** Opening and saving: files, pictures, the server's folder. Opening never replaces what is open. */
import { api, Refused } from '../api/client'
import exampleText from '../examples/text_to_image.json?raw'
import { add } from '../graph/actions'
import { freePlace, middle } from '../graph/camera'
import { standardSize } from '../graph/size'
import { t } from '../i18n'
import { isApi, toApi } from '../io/api'
import { indentOf, isArray, isObject, parseJson, writeJson, writeLike, type Json, type JsonObject } from '../io/json'
import { readPicture, saysMore } from '../io/pictures'
import { readApi } from '../io/readApi'
import { EMPTY_FILE, readUi, writeUi } from '../io/ui'
import type { Document, Point } from '../model/document'
import { TITLE_HEIGHT } from '../model/document'
import { rename } from '../model/edit'
import { arrange } from '../model/layout'
import { missingOf, type Missing } from '../model/missing'
import { validate } from '../model/validate'
import { withCamera } from '../state/cameras'
import { loadDefinitions, serverDefinitions } from '../state/server'
import { activeTab, changeTab, openTab, type Tab } from '../state/documents'
import { setSettings } from '../state/settings'
import { say, setView, tell } from '../state/view'
import { wordsOf } from './refusals'
import { stored } from '../widgets/PicturePick'

export function readWorkflow(file: Json): Document | null {
  if (isApi(file)) {
    const sizeOf = (type: string): Point => standardSize(serverDefinitions().get(type))
    return readApi(file, serverDefinitions(), sizeOf, (doc) =>
      arrange(doc, (id) => {
        const node = doc.nodes.get(id)
        const [width, height] = node?.size ?? [240, 100]
        return [width, height + TITLE_HEIGHT]
      }),
    )
  }
  if (!isObject(file) || !isArray(file.nodes)) return null
  return readUi(file, serverDefinitions())
}

export function openText(text: string, name: string, about: { path?: string; stored?: number } = {}): boolean {
  let file: Json
  try {
    file = parseJson(text)
  } catch {
    tell(t('say.notJson', { name }), 'error')
    return false
  }
  const doc = readWorkflow(file)
  if (!doc) {
    tell(t('say.notWorkflow', { name }), 'error')
    return false
  }
  const indent = indentOf(text)
  openTab(doc, { name: name.replace(/\.json$/i, ''), indent, source: writeJson(file, indent) === text ? '' : text, ...about })
  say(t('say.opened', { name }))
  void showMissing(doc)
  return true
}

/** A workflow that needs what is not here says so at once, in one place. */
async function showMissing(doc: Document): Promise<void> {
  const look = (): Missing => missingOf(doc, serverDefinitions(), validate(doc, serverDefinitions()))
  if (look().files.length) await loadDefinitions() // a file may have come since the lists were read
  const { types, files } = look()
  if (!types.length && !files.length) return
  setSettings({ sideOpen: true })
  setView({ panel: 'problems' })
  tell(t('missing.told'))
}

export const openValue = (value: Json, name: string): boolean => openText(writeJson(value), name)

export function openExample(): void {
  const doc = readUi(parseJson(exampleText) as JsonObject, serverDefinitions())
  const named = rename(rename(doc, '6', t('app.prompt')), '7', t('app.negative'))
  openTab(named, { name: t('app.default') })
}

export const openEmpty = (): string => openTab(readUi(EMPTY_FILE, serverDefinitions()), { name: t('app.untitled') })

const isPicture = (file: File): boolean => file.type.startsWith('image/') || /\.(png|webp|jpe?g|gif|avif)$/i.test(file.name)

/** A file that was dropped, pasted or chosen. A picture with a workflow in it is asked about. */
export async function takeDrop(file: File, at: Point): Promise<void> {
  if (!isPicture(file)) {
    const text = await file.text()
    if (/^\s*[{[]/.test(text)) return void openText(text, file.name)
    const made = await api.convert(file).catch(() => null) // settings of another program, a latent
    if (!made) return tell(t('say.notWorkflow', { name: file.name }), 'error')
    openMade(made, file.name)
    return
  }
  const bytes = new Uint8Array(await file.arrayBuffer())
  const carried = await readPicture(bytes)
  const workflow = carried.workflow ?? carried.prompt
  if (workflow !== undefined) return setView({ dropped: { file, workflow, at, made: null } })
  const made = saysMore(bytes) ? await api.convert(file).catch(() => null) : null
  if (made) setView({ dropped: { file, workflow: '', at, made } })
  else await addPicture(file, at)
}

/** Opens the workflow that another program's settings make, and tells what of them is left out. */
export function openMade(made: { readonly workflow: Json; readonly left: readonly string[] }, name: string): void {
  if (openValue(made.workflow, name.replace(/\.\w+$/, '')) && made.left.length) tell(t('drop.left', { left: made.left.join('; ') }), 'error')
}

/** A picture becomes a card once the server has it: a card that came before would show another picture until then. */
export async function addPicture(file: File, at: Point | null): Promise<void> {
  const name = await stored(file)
  const def = serverDefinitions().get('LoadImage')
  const input = def?.inputs.find((each) => each.upload)
  if (name === null || !def || !input) return
  add(def, at ?? freePlace(standardSize(def)), null, { [input.name]: name })
}

export function chooseFile(): void {
  const chooser = document.createElement('input')
  chooser.type = 'file'
  chooser.accept = '.json,.png,.webp,.jpg,.jpeg,application/json,image/*'
  chooser.multiple = true
  chooser.onchange = () => {
    for (const file of chooser.files ?? []) void takeDrop(file, middle())
  }
  chooser.click()
}

export const textOf = (tab: Tab): string => writeLike(tab.source, withCamera(tab.id, writeUi(tab.history.present, serverDefinitions())), tab.indent)

function download(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 1000)
  tell(t('say.savedHere', { name }))
}

export function downloadOpen(): void {
  const tab = activeTab()
  if (!tab) return
  download(textOf(tab), `${tab.name}.json`)
  changeTab(tab.id, (old) => ({ ...old, saved: old.history.present }))
}

export function downloadApi(): void {
  const tab = activeTab()
  if (tab) download(writeJson(toApi(tab.history.present, serverDefinitions()) as unknown as Json, 2), `${tab.name}_api.json`)
}

export type Saved = 'saved' | 'exists' | 'changed' | 'failed'

/** Stores the workflow on the server under a name; what is there is replaced only where that is wanted. */
export async function saveAs(tab: Tab, name: string, replace: boolean): Promise<Saved> {
  const path = `${name}.json`
  try {
    if (replace && tab.path === path && tab.stored) {
      const there = (await api.savedFiles()).find((file) => file.path === path)
      if (there && there.modified > tab.stored) return 'changed'
    }
    const present = tab.history.present
    const stored = await api.writeFile(path, textOf(tab), replace)
    changeTab(tab.id, (old) => ({ ...old, name: name.split('/').at(-1) ?? name, path, stored, saved: present }))
    tell(t('say.saved', { name }))
    return 'saved'
  } catch (error) {
    if (error instanceof Refused && error.status === 409) return 'exists'
    tell(wordsOf(error), 'error')
    return 'failed'
  }
}
