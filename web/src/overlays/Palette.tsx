import { useEffect, useMemo, useRef, useState, type CSSProperties, type KeyboardEvent } from 'react'
import { COMMANDS, keysOf } from '../app/commands'
import { sameJson } from '../io/json'
import { BUILTIN } from '../model/builtin'
import { inputOf } from '../model/definitions'
import { add, cut, join, setField } from '../graph/actions'
import { focusNode, freePlace, goTo } from '../graph/camera'
import { defFor } from '../model/varying'
import { standardSize } from '../graph/size'
import { typeColor } from '../graph/types'
import { aboutNode, categoryName, inputName, nameShown, nodeName, otherName, t as text, useT } from '../i18n'
import { fittingInputs, portsOf } from '../model/connect'
import { inputsOf, linkInto } from '../model/document'
import { removeLinks } from '../model/edit'
import { searchNodes } from '../model/search'
import { definitions } from '../state/definitions'
import { activate, activeDoc, isUnsaved, nodeCalled, useDocuments } from '../state/documents'
import { useSettings } from '../state/settings'
import { selected, setView, useView, type Palette as Asked } from '../state/view'

interface Item {
  readonly key: string
  readonly name: string
  readonly where: string
  /** What it is found by besides: identifiers. */
  readonly also?: string
  readonly keys?: string
  readonly types?: readonly string[]
  readonly about?: string
  /** The present value, where one is chosen. */
  readonly on?: boolean
  readonly run: () => void
}

export function Palette() {
  const asked = useView((view) => view.palette)
  return asked ? <Open key={`${asked.kind} ${asked.at?.join()}`} asked={asked} /> : null
}

/** One box to find things in: node types, nodes, commands, places to connect to. */
function Open({ asked }: { asked: Asked }) {
  const t = useT()
  const [query, setQuery] = useState('')
  const [moved, setMoved] = useState<{ query: string; to: number } | null>(null)
  const box = useRef<HTMLInputElement>(null)
  const list = useRef<HTMLUListElement>(null)
  const before = useRef(document.activeElement as HTMLElement | null)
  const items = useMemo(() => itemsOf(asked, query).slice(0, asked.kind === 'choose' ? 400 : 80), [asked, query])
  const first = query ? 0 : Math.max(0, items.findIndex((item) => item.on))
  const at = moved?.query === query ? Math.min(moved.to, items.length - 1) : first
  const setAt = (to: number): void => setMoved({ query, to })
  const place = useMemo(() => placeOf(asked.at), [asked.at])

  useEffect(() => box.current?.focus(), [])
  useEffect(() => {
    void list.current?.children[at]?.scrollIntoView({ block: 'nearest' }) // newer browsers give a promise
  }, [at])

  const close = (): void => {
    setView({ palette: null })
    const back = before.current
    requestAnimationFrame(() => {
      if (document.activeElement !== document.body) return
      if (asked.kind === 'choose' && back?.isConnected) return back.focus()
      const one = [...selected()][0]
      if (one !== undefined && document.querySelector(`[data-node="${CSS.escape(one)}"]`)) focusNode(one)
      else if (back?.isConnected && back !== document.body) back.focus()
      else document.getElementById('canvas')?.focus()
    })
  }
  const choose = (item: Item | undefined): void => {
    if (!item) return
    close()
    item.run()
  }
  const press = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return
    if (event.key === 'ArrowDown') setAt(Math.min(at + 1, items.length - 1))
    else if (event.key === 'ArrowUp') setAt(Math.max(at - 1, 0))
    else if (event.key === 'Enter') choose(items[at])
    else if (event.key === 'Escape' || event.key === 'Tab') close()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  const { takes, gives } = asked.filter
  const hint = takes !== undefined ? t('palette.addTyped', { type: takes }) : gives !== undefined ? t('palette.addGiving', { type: gives }) : t(`palette.${asked.kind}`)
  const about = items[at]?.about
  return (
    <>
      <div style={{ position: 'fixed', inset: 0, zIndex: 39 }} onPointerDown={close} />
      <div className="palette" style={place} role="dialog" aria-label={hint}>
        <input ref={box} role="combobox" aria-expanded="true" aria-controls="palette-list" aria-activedescendant={items[at] ? `palette-${at}` : undefined} aria-label={hint} placeholder={hint} value={query} spellCheck={false} autoComplete="off" onChange={(event) => setQuery(event.target.value)} onKeyDown={press} />
        <ul ref={list} id="palette-list" role="listbox" aria-label={hint}>
          {items.map((item, index) => (
            <li key={item.key} id={`palette-${index}`} role="option" aria-selected={index === at} onPointerMove={() => setAt(index)} onClick={() => choose(item)}>
              <span className="name">{item.name}</span>
              <span className="where">{item.where}</span>
              {item.on && <span className="keys">✓</span>}
              {item.keys && <span className="keys">{item.keys}</span>}
              {item.types && (
                <span className="types">
                  {item.types.map((type, nth) => (
                    <i key={nth} className="type-dot" style={{ '--c': typeColor(type) } as CSSProperties} title={type} />
                  ))}
                </span>
              )}
            </li>
          ))}
        </ul>
        {!items.length && <div className="none">{t('palette.none')}</div>}
        {about && <div className="about">{about}</div>}
      </div>
    </>
  )
}

function placeOf(at: readonly [number, number] | null): CSSProperties {
  if (!at) return { left: '50%', top: 88, transform: 'translateX(-50%)' }
  const { scale } = useSettings.getState()
  return { left: Math.max(8, Math.min(at[0] / scale + 6, innerWidth / scale - 450)), top: Math.max(54, Math.min(at[1] / scale - 22, innerHeight / scale - 480)) }
}

function itemsOf(asked: Asked, query: string): Item[] {
  switch (asked.kind) {
    case 'add':
      return addItems(asked, query)
    case 'goto':
      return filtered(gotoItems(), query)
    case 'commands':
      return filtered(commandItems(), query)
    case 'connect':
      return filtered(connectItems(), query)
    case 'disconnect':
      return filtered(disconnectItems(), query)
    case 'tabs':
      return filtered(tabItems(), query)
    case 'replace':
      return filtered(replaceItems(asked), query)
    case 'choose':
      return filtered(choiceItems(asked), query)
  }
}

const filtered = (items: Item[], query: string): Item[] => {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean)
  return items.filter((item) => words.every((word) => `${item.name} ${item.where} ${item.also ?? ''}`.toLowerCase().includes(word)))
}

function addItems(asked: Asked, query: string): Item[] {
  return searchNodes(new Map([...BUILTIN, ...definitions()]), query, asked.filter, otherName, useSettings.getState().recent).map(({ def }) => ({
    key: def.type,
    name: nodeName(def),
    where: categoryName(def.category),
    types: def.outputs.map((output) => output.type),
    about: aboutNode(def),
    run: () => {
      const id = add(def, asked.at && asked.place ? asked.place : freePlace(standardSize(def)), asked.pending)
      if (id) requestAnimationFrame(() => requestAnimationFrame(() => focusNode(id)))
    },
  }))
}

function choiceItems(asked: Asked): Item[] {
  const id = asked.pending?.to ?? ''
  const name = asked.pending?.input ?? ''
  const node = nodeCalled(id)
  const choices = inputOf(node && defFor(definitions().get(node.type), node), name)?.choices ?? []
  return choices.map((choice, at) => ({ key: String(at), name: String(choice), where: '', on: sameJson(choice, node?.values[name]), run: () => setField(id, name, choice) }))
}

function gotoItems(): Item[] {
  const doc = activeDoc()
  return [...(doc?.nodes.values() ?? [])].map((node) => ({ key: node.id, name: doc ? nameShown(node, doc, definitions()) : '', where: `${node.type} · ${node.id}`, run: () => goTo(node.id, true) }))
}

function tabItems(): Item[] {
  const { tabs, active } = useDocuments.getState()
  return tabs.map((tab) => ({ key: tab.id, name: tab.name, where: isUnsaved(tab) ? text('bar.unsaved') : '', on: tab.id === active, run: () => activate(tab.id) }))
}

/** The inputs of a node that a link fits, all of which are taken. */
function replaceItems({ pending }: Asked): Item[] {
  const doc = activeDoc()
  const target = doc?.nodes.get(pending?.to ?? '')
  const from = pending?.from ?? ''
  const fromSlot = pending?.fromSlot ?? 0
  if (!doc || !target) return []
  const defs = definitions()
  const base = pending?.moved ? removeLinks(doc, [pending.moved]) : doc
  return fittingInputs(base, defs, from, fromSlot, target).map((input) => {
    const held = doc.nodes.get(linkInto(doc, target, input.name)?.from ?? '')
    return { key: input.name, name: input.label === input.name ? inputName(input.name) : input.label, where: held ? text('palette.instead', { name: nameShown(held, doc, defs) }) : '', types: [input.type], run: () => join({ from, fromSlot, to: target.id, input: input.name }, pending?.moved) }
  })
}

function commandItems(): Item[] {
  return COMMANDS.filter((command) => command.id !== 'commands').map((command) => ({ key: command.id, name: text(command.title), where: '', keys: keysOf(command.id), run: command.run }))
}

function connectItems(): Item[] {
  const doc = activeDoc()
  const from = doc?.nodes.get([...selected()][0] ?? '')
  if (!doc || !from) return []
  const defs = definitions()
  return portsOf(doc, from, defs).outputs.flatMap((output) =>
    [...doc.nodes.values()].flatMap((target) =>
      target.id === from.id
        ? []
        : fittingInputs(doc, defs, from.id, output.slot, target).filter((input) => !input.def?.widget).map((input) => ({
            key: `${output.slot} ${target.id} ${input.name}`,
            name: `${output.type} → ${nameShown(target, doc, defs)}`,
            where: `${inputName(input.name)} · ${target.id}${inputsOf(target).some((slot) => slot.name === input.name && slot.link !== null) ? ' ·  ↺' : ''}`,
            also: input.name,
            types: [output.type],
            run: () => (join({ from: from.id, fromSlot: output.slot, to: target.id, input: input.name }), focusNode(from.id)),
          })),
    ),
  ).sort((a, b) => Number(a.where.includes('↺')) - Number(b.where.includes('↺')))
}

function disconnectItems(): Item[] {
  const doc = activeDoc()
  const id = [...selected()][0]
  if (!doc || id === undefined) return []
  const defs = definitions()
  return [...doc.links.values()].filter((link) => link.from === id || link.to === id).map((link) => {
    const source = doc.nodes.get(link.from)
    const target = doc.nodes.get(link.to)
    return {
      key: link.id,
      name: `${source ? nameShown(source, doc, defs) : ''} → ${target ? nameShown(target, doc, defs) : ''}`,
      where: inputName(target ? (inputsOf(target)[link.toSlot]?.name ?? '') : ''),
      types: [link.type],
      run: () => (cut([link.id]), focusNode(id)),
    }
  })
}
