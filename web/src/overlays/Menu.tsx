import { useLayoutEffect, useRef } from 'react'
import { command, keysOf } from '../app/commands'
import { addNote } from '../app/edits'
import { useT } from '../i18n'
import { addDotAt, cut } from '../graph/actions'
import { subgraphsOf, type Point } from '../model/document'
import { frameOf, isFrame } from '../graph/toFlow'
import { removeGroup, setColor, setGroup } from '../model/edit'
import { useDefinitions } from '../state/definitions'
import { activeDoc, commit } from '../state/documents'
import { useSettings } from '../state/settings'
import { selected, setView, useView } from '../state/view'

const NODE_ITEMS = [['runTo', 'help'], ['copy', 'duplicate', 'delete'], ['mute', 'bypass', 'collapse', 'pin'], ['rename', 'group', 'subgraph', 'arrange']]
const MANY_ITEMS = [['alignLeft', 'alignRight', 'alignTop', 'alignBottom', 'distributeAcross', 'distributeDown']]
const CANVAS_ITEMS = [['goto', 'arrange', 'fit', 'selectAll'], ['undo', 'redo'], ['save', 'open', 'workflows']]
const COLORS: readonly (readonly [string, string])[] = [
  ['#7a3b32', '#5a2d26'],
  ['#7a5a2a', '#5a4420'],
  ['#3f6a3a', '#2f4f2c'],
  ['#2f6672', '#244c55'],
  ['#3b4f86', '#2d3b64'],
  ['#6a3f7a', '#4f2f5b'],
]

export function Menu() {
  const t = useT()
  const menu = useView((view) => view.menu)
  const definitions = useDefinitions((state) => state.definitions)
  const box = useRef<HTMLDivElement>(null)
  useLayoutEffect(() => {
    const held = box.current
    if (!held || !menu) return
    const { scale } = useSettings.getState()
    held.style.left = `${Math.max(8, Math.min(menu.at[0] / scale, innerWidth / scale - held.offsetWidth - 8))}px`
    held.style.top = `${Math.max(8, Math.min(menu.at[1] / scale, innerHeight / scale - held.offsetHeight - 8))}px`
    held.querySelector('button')?.focus()
  }, [menu])
  if (!menu) return null
  const close = (): void => setView({ menu: null })
  const node = activeDoc()?.nodes.get(menu.id)
  const about = node && definitions.get(node.type)?.description
  const doc = activeDoc()
  const isSubgraph = node !== undefined && doc !== undefined && subgraphsOf(doc.file).has(node.type)
  const items = menu.kind === 'node' ? [...(isSubgraph ? [['enterSubgraph', 'unpack']] : []), ...NODE_ITEMS, ...(selected().size > 1 ? MANY_ITEMS : [])] : menu.kind === 'canvas' ? CANVAS_ITEMS : menu.kind === 'group' ? [['mute', 'bypass'], ['copy', 'rename']] : menu.kind === 'dot' ? [['delete']] : []
  const walk = (event: React.KeyboardEvent): void => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return
    event.preventDefault()
    const all = [...(box.current?.querySelectorAll('button') ?? [])]
    const now = all.indexOf(document.activeElement as HTMLButtonElement)
    all[(now + (event.key === 'ArrowDown' ? 1 : -1) + all.length) % all.length]?.focus()
  }
  const pick = (run: () => void) => (): void => {
    close()
    run()
  }
  return (
    <>
      <div style={{ position: 'fixed', inset: 0, zIndex: 40 }} onPointerDown={close} onContextMenu={(event) => (event.preventDefault(), close())} />
      <div ref={box} className="menu" role="menu" onKeyDown={walk}>
        {menu.kind === 'canvas' && (
          <>
            <button type="button" role="menuitem" onClick={pick(() => setView({ palette: { kind: 'add', at: menu.at, place: menu.place, filter: {}, pending: null } }))}>
              {t('menu.addHere')} <kbd>{keysOf('add')}</kbd>
            </button>
            <button type="button" role="menuitem" onClick={pick(() => addNote(menu.place))}>
              {t('cmd.note')}
            </button>
            <hr />
          </>
        )}
        {items.map((part, at) => (
          <div key={at} role="none">
            {at > 0 && <hr />}
            {part.map((id) => (
              <button key={id} type="button" role="menuitem" onClick={pick(command(id).run)}>
                {t(command(id).title)} {keysOf(id) && <kbd>{keysOf(id)}</kbd>}
              </button>
            ))}
          </div>
        ))}
        {(menu.kind === 'node' || menu.kind === 'group') && (
          <>
            <hr />
            <div className="swatches" role="none">
              <button type="button" role="menuitem" aria-label={t('menu.noColor')} title={t('menu.noColor')} style={{ background: 'var(--node)' }} onClick={pick(() => paint(undefined, undefined))} />
              {COLORS.map(([color, body], at) => (
                <button key={color} type="button" role="menuitem" aria-label={`${t('menu.color')} ${at + 1}`} style={{ background: color }} onClick={pick(() => paint(color, body))} />
              ))}
            </div>
          </>
        )}
        {menu.kind === 'link' && <LinkItems id={menu.id} place={menu.place} pick={pick} />}
        {menu.kind === 'group' && (
          <button type="button" role="menuitem" onClick={pick(() => commit(t('do.delete'), (doc) => removeGroup(doc, Number(menu.id.slice(6)))))}>
            {t('menu.deleteGroup')}
          </button>
        )}
        {about && (
          <>
            <hr />
            <p>{about}</p>
          </>
        )}
      </div>
    </>
  )

  function paint(color: string | undefined, body: string | undefined): void {
    commit(t('do.color'), (now) => [...selected()].filter(isFrame).reduce((next, id) => setGroup(next, frameOf(id), { color: color ?? '#8a7f6d' }), setColor(now, selected(), color, body)))
  }
}

function LinkItems({ id, place, pick }: { id: string; place: Point; pick: (run: () => void) => () => void }) {
  const t = useT()
  return (
    <>
      <button type="button" role="menuitem" onClick={pick(() => addDotAt(id, place))}>
        {t('reroute.add')} <kbd>Alt + ⊙</kbd>
      </button>
      <button type="button" role="menuitem" onClick={pick(() => cut([id]))}>
        {t('reroute.cut')}
      </button>
    </>
  )
}
