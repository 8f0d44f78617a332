/** The open workflows: one Tab stop each, dragged or moved with Alt and an arrow key, and listed where they do not fit. */
import { useEffect, useLayoutEffect, useRef, useState, type DragEvent, type KeyboardEvent } from 'react'
import { useT } from '../i18n'
import { activate, isUnsaved, moveTab, useDocuments, type Tab } from '../state/documents'
import { askClose } from './closing'
import { command, hintOf } from './commands'
import { Icon } from './Icon'

const CARRIED = 'application/x-darkroom-tab'

export function Tabs() {
  const t = useT()
  const tabs = useDocuments((state) => state.tabs)
  const active = useDocuments((state) => state.active)
  const box = useRef<HTMLElement>(null)
  const [isCut, setCut] = useState(false)
  useLayoutEffect(() => {
    void box.current?.querySelector('.tab.active')?.scrollIntoView({ block: 'nearest', inline: 'nearest' }) // newer browsers give a promise
  }, [active, tabs.length])
  useEffect(() => {
    const held = box.current
    if (!held) return
    const look = (): void => setCut(held.scrollWidth > held.clientWidth + 1)
    const watch = new ResizeObserver(look)
    watch.observe(held)
    for (const tab of held.children) watch.observe(tab)
    look()
    return () => watch.disconnect()
  }, [tabs])
  return (
    <>
      <nav className="tabs" aria-label={t('bar.workflows')} ref={box}>
        {tabs.map((tab, at) => (
          <OneTab key={tab.id} tab={tab} at={at} isActive={tab.id === active} />
        ))}
      </nav>
      {isCut && (
        <button type="button" className="button bare square" aria-label={t('bar.tabs')} title={hintOf(t('bar.tabs'), 'tabs')} onClick={command('tabs').run}>
          <Icon name="list" />
        </button>
      )}
      <button type="button" className="button bare square" aria-label={t('bar.newTab')} title={t('bar.newTab')} onClick={command('new').run}>
        <Icon name="plus" />
      </button>
    </>
  )
}

function OneTab({ tab, at, isActive }: { tab: Tab; at: number; isActive: boolean }) {
  const t = useT()
  const [over, setOver] = useState('')
  const name = useRef<HTMLButtonElement>(null)
  const press = (event: KeyboardEvent): void => {
    const by = event.altKey ? { ArrowLeft: -1, ArrowRight: 1 }[event.key] : undefined
    if (by === undefined) return
    event.preventDefault()
    moveTab(tab.id, Math.max(0, at + by))
    requestAnimationFrame(() => name.current?.focus()) // an element that moves loses it
  }
  const drag = {
    draggable: true,
    onDragStart: (event: DragEvent) => event.dataTransfer.setData(CARRIED, tab.id),
    onDragOver: (event: DragEvent<HTMLElement>) => {
      if (!event.dataTransfer.types.includes(CARRIED)) return
      event.preventDefault()
      setOver(isLeft(event) ? 'before' : 'behind')
    },
    onDragLeave: () => setOver(''),
    onDrop: (event: DragEvent<HTMLElement>) => {
      const id = event.dataTransfer.getData(CARRIED)
      setOver('')
      if (!id || id === tab.id) return
      event.preventDefault()
      const from = useDocuments.getState().tabs.findIndex((each) => each.id === id)
      const to = at + (isLeft(event) ? 0 : 1)
      moveTab(id, from < to ? to - 1 : to)
    },
  }
  return (
    <div className={`tab ${isActive ? 'active' : ''} ${over}`} {...drag}>
      <button ref={name} type="button" className="tab-name" aria-current={isActive} onKeyDown={press} onClick={() => activate(tab.id)} onAuxClick={(event) => event.button === 1 && askClose(tab.id)} title={tab.name + (isUnsaved(tab) ? ` – ${t('bar.unsaved')}` : '')}>
        {tab.name}
      </button>
      <button type="button" className="tab-close" aria-label={t('bar.closeTab', { name: tab.name })} onClick={() => askClose(tab.id)}>
        {isUnsaved(tab) && <span className="dot" />}
        <Icon name="close" />
      </button>
    </div>
  )
}

function isLeft(event: DragEvent<HTMLElement>): boolean {
  const box = event.currentTarget.getBoundingClientRect()
  return event.clientX < box.left + box.width / 2
}
