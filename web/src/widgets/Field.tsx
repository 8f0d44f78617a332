import { memo } from 'react'
import { about, inputName, problemWords, useT } from '../i18n'
import { controlOf, valueOf } from '../io/widgets'
import type { InputDef } from '../model/definitions'
import type { Node } from '../model/document'
import { wordOf } from '../model/seed'
import { readSeveral, writeSeveral } from '../model/sweep'
import { isInTheBox, unheard } from '../model/world'
import { toText } from '../io/json'
import { hintOf } from '../app/commands'
import { setView } from '../state/view'
import type { Problem } from '../model/validate'
import { setField } from '../graph/actions'
import { handleIn } from '../graph/handles'
import { Socket } from '../graph/Socket'
import { Icon } from '../app/Icon'
import { nodeCalled, useDocuments } from '../state/documents'
import { Combo } from './Combo'
import { NumberField } from './Number'
import { PicturePick } from './PicturePick'
import { SeveralField } from './SeveralField'
import { Suggested } from './Suggested'
import { useIsBox } from './useIsBox'
import { TextField } from './Text'

interface Props {
  readonly node: Node
  readonly input: InputDef
  readonly label: string
  readonly linked: boolean
  readonly problem: Problem | undefined
  /** Shown on another node than its own: there is nothing to link here. */
  readonly isProxy?: boolean
}

/** One input of a node that holds a value: its name, its socket, and the control for its kind. */
export const Field = memo(function Field({ node, input, label, linked, problem, isProxy }: Props) {
  const t = useT()
  const shown = label === input.name ? inputName(input.name) : label
  const value = valueOf(node, input)
  const isLong = input.widget === 'text' && input.options.multiline === true && !readSeveral(value)
  const several = readSeveral(value)
  const isToggle = input.widget === 'toggle'
  const near = problem?.params.near
  const words = problem && problemWords(problem)
  const hint = `${input.name} · ${input.type}${input.tooltip ? ` – ${input.tooltip}` : ''}${linked ? ` (${t('field.linked')})` : ''}`
  const name = `${shown}, ${node.id}`
  const Row = isToggle && !several ? 'label' : 'div'
  return (
    <>
      <Row data-input={isProxy ? undefined : input.name} className={`field nodrag ${isLong ? 'text nowheel' : ''} ${isToggle ? 'toggle' : ''} ${problem ? 'problem' : ''} ${linked ? 'linked' : ''}`} title={hint}>
        {!isProxy && <Socket side="in" id={handleIn(input.name)} node={node.id} type={input.type} linked={linked} bare hint={hint} />}
        {!isLong && <span className="field-name">{shown}</span>}
        {several && <SeveralField input={input} several={several} name={name} onChange={(next) => setField(node.id, input.name, next)} />}
        {!several && input.widget === 'combo' && <Combo node={node.id} input={input} value={value} name={name} disabled={linked} onChange={(next) => setField(node.id, input.name, next)} />}
        {!several && (input.widget === 'int' || input.widget === 'float') && <NumberField input={input} value={value} name={name} disabled={linked} onChange={(next) => setField(node.id, input.name, next)} />}
        {!several && input.widget === 'text' && <TextField node={node.id} input={input} value={value} name={name} hint={shown} disabled={linked} onChange={(next) => setField(node.id, input.name, next)} />}
        {!several && isToggle && (
          <>
            <input type="checkbox" className="hidden" aria-label={name} checked={value === true} disabled={linked} onChange={(event) => setField(node.id, input.name, event.target.checked)} />
            <span className="switch" />
          </>
        )}
        {!several && !linked && (
          <button type="button" className="to-several" tabIndex={-1} aria-label={about(t('several.make'), shown)} title={hintOf(t('several.make'), 'several')} onClick={(event) => (event.preventDefault(), setField(node.id, input.name, writeSeveral([value], '')))}>
            <Icon name="list" />
          </button>
        )}
      </Row>
      {problem && (
        <p className="field-problem">
          <span>{words}</span>
          {near && problem.code === 'not_in_list' && (
            <button type="button" className="nodrag" onClick={() => setField(node.id, input.name, near)}>
              {t('problem.use', { near })}
            </button>
          )}
        </p>
      )}
      {!linked && !several && <Suggested node={node} input={input.name} />}
      {input.control !== 'none' && !linked && !several && <Control node={node} input={input} name={about(shown, t('field.control'))} />}
      {input.within && !linked && !several && <Inner id={`${node.id}:${input.within.node}`} input={input.within.input} name={about(shown, t('field.control'))} />}
      {input.widget === 'combo' && !linked && isInTheBox(toText(value)) && (
        <button type="button" className="field-note nodrag" onClick={() => setView({ dialog: 'models' })}>
          {t('box.model')}
        </button>
      )}
      {isLong && !linked && <Unheard node={node.id} prompt={toText(value)} />}
      {input.upload && <PicturePick node={node.id} input={input} hasPicture={typeof value === 'string' && value !== ''} />}
    </>
  )
})

/** What a field of a subgraph's instance does after a run is said inside; all instances do the same. */
function Inner({ id, input, name }: { id: string; input: InputDef; name: string }) {
  const node = useDocuments(() => nodeCalled(id))
  return node ? <Control node={{ ...node, id }} input={input} name={name} /> : null
}

/** What a prompt asks for that the model in the box has never heard of. */
function Unheard({ node, prompt }: { node: string; prompt: string }) {
  const t = useT()
  const isBox = useIsBox(node)
  const words = isBox ? unheard(prompt) : []
  return words.length ? (
    <button type="button" className="field-note warning nodrag" onClick={() => setView({ dialog: 'models' })}>
      {t('box.unheard', { words: words.slice(0, 6).join(', ') + (words.length > 6 ? ' …' : '') })}
    </button>
  ) : null
}

const WORDS = ['fixed', 'randomize', 'increment', 'decrement'] as const

function Control({ node, input, name }: { node: Node; input: InputDef; name: string }) {
  const t = useT()
  const word = wordOf(node.values[controlOf(input.name)])
  const words = input.control === 'combo' ? [...WORDS, 'increment-wrap' as const] : WORDS
  return (
    <div className="field nodrag">
      <span className="field-name">{t('field.control')}</span>
      <select aria-label={name} value={word} onChange={(event) => setField(node.id, controlOf(input.name), event.target.value)}>
        {words.map((each) => (
          <option key={each} value={each}>
            {t(`field.${each}`)}
          </option>
        ))}
      </select>
      <Icon name="down" className="caret icon" />
    </div>
  )
}
