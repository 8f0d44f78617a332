import type { CSSProperties, ReactNode } from 'react'
import { command, keysOf } from '../app/commands'
import { typeColor } from '../graph/types'
import { about, categoryName, inputName, outputName, nodeName, seconds, useT } from '../i18n'
import type { Json } from '../io/json'
import { defaultOf, type InputDef } from '../model/definitions'
import { titleOf, type Node } from '../model/document'
import { useDef } from '../state/definitions'
import { useDoc, useDocuments, usePrefix } from '../state/documents'
import { useRun } from '../state/run'
import { useView } from '../state/view'
import { Why } from './Why'

/** What the selected node does, and all that goes in and out. */
export function NodeHelp() {
  const doc = useDoc()
  const id = useView((view) => [...view.selected].find((each) => doc?.nodes.has(each)))
  const node = id === undefined ? undefined : doc?.nodes.get(id)
  return node ? <About node={node} /> : <Nothing />
}

function Nothing({ type }: { type?: string }) {
  const t = useT()
  return (
    <div className="calm">
      <b>{type ?? t('help.none')}</b>
      {type ? t('help.unknown') : t('help.noneHint', { keys: keysOf('goto') })}
    </div>
  )
}

function About({ node }: { node: Node }) {
  const t = useT()
  const tab = useDocuments((state) => state.active)
  const def = useDef(node)
  const id = usePrefix() + node.id
  const run = useRun((state) => state.nodes[tab]?.[id])
  if (!def) return <Nothing type={node.type} />
  const name = nodeName(def)
  return (
    <div className="list help" tabIndex={0} role="region" aria-label={t('side.help')}>
      <h2>{titleOf(node) || name}</h2>
      <p className="quiet">{[titleOf(node) && titleOf(node) !== name ? name : '', def.type !== name ? def.type : '', categoryName(def.category), `#${node.id}`].filter(Boolean).join(' · ')}</p>
      {def.description && <p>{def.description}</p>}
      {run && (run.seconds !== null || run.state === 'cached') && <p className="quiet">{run.state === 'cached' ? t('node.cachedHint') : about(t('node.secondsHint'), t('node.seconds', { seconds: seconds(run.seconds ?? 0) }))}</p>}
      <Why id={id} />
      {def.inputs.length > 0 && <h3>{t('help.inputs')}</h3>}
      <dl>
        {def.inputs.map((input) => (
          <Entry key={input.name} name={inputName(input.name)} also={inputName(input.name) === input.name ? '' : input.name} type={input.type} tip={input.tooltip}>
            {facts(input, t)}
          </Entry>
        ))}
      </dl>
      {def.outputs.length > 0 && <h3>{t('help.outputs')}</h3>}
      <dl>
        {def.outputs.map((output, at) => (
          <Entry key={at} name={outputName(output.name)} also="" type={output.type} tip={output.tooltip} />
        ))}
      </dl>
      <button type="button" className="button" onClick={command('connect').run}>
        {t('cmd.connect')}
      </button>
    </div>
  )
}

function Entry({ name, also, type, tip, children }: { name: string; also: string; type: string; tip: string; children?: ReactNode }) {
  return (
    <>
      <dt>
        <i className="type-dot" style={{ '--c': typeColor(type) } as CSSProperties} />
        {name}
        {also && <code>{also}</code>}
        <span>{type === 'COMBO' || name === type ? '' : type}</span>
      </dt>
      <dd>
        {tip}
        {children && <small>{children}</small>}
      </dd>
    </>
  )
}

/** What may stand in a field, in a line. */
function facts(input: InputDef, t: ReturnType<typeof useT>): string {
  if (!input.widget) return input.optional ? t('help.optional') : ''
  const { min, max } = input.options
  const shown = (value: Json): string => (typeof value === 'string' ? value : String(value))
  const standard = input.widget === 'text' || input.widget === 'combo' ? '' : t('help.standard', { value: shown(defaultOf(input)) })
  const range = min !== undefined && max !== undefined && input.widget !== 'text' ? t('help.range', { min: shown(min), max: shown(max) }) : ''
  const choices = input.widget === 'combo' ? t('help.choices', { count: input.choices.length }) : ''
  return [standard, range, choices].filter(Boolean).join(' · ')
}
