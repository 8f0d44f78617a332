import { useRef, useState } from 'react'
import { goTo } from '../graph/camera'
import { inputName, t as text, useT } from '../i18n'
import { replaceEverywhere, type Missing, type MissingFile, type MissingType } from '../model/missing'
import { commitFile } from '../state/documents'
import { serverDefinitions } from '../state/server'
import { tell } from '../state/view'

/** What the workflow needs and the server lacks: each type and each file once, however often it is used. */
export function MissingParts({ missing: { types, files } }: { missing: Missing }) {
  const t = useT()
  const packs = [...new Set(types.map((each) => each.pack))]
  return (
    <>
      {types.length > 0 && <h3>{t('missing.types')}</h3>}
      {packs.map((pack) => (
        <div key={pack} className="missing" role="group" aria-label={pack || t('missing.noPack')}>
          <b>{pack || t('missing.noPack')}</b>
          {types.filter((each) => each.pack === pack).map((each) => <Type key={each.type} missing={each} />)}
        </div>
      ))}
      {files.length > 0 && <h3>{t('missing.files')}</h3>}
      {files.map((each) => (
        <File key={`${each.input} ${each.value}`} missing={each} />
      ))}
    </>
  )
}

/** Goes to one node after the other. */
function useRound(nodes: readonly string[]): () => void {
  const next = useRef(0)
  return () => goTo(nodes[next.current++ % nodes.length] ?? '', true)
}

function Type({ missing }: { missing: MissingType }) {
  const t = useT()
  const go = useRound(missing.nodes)
  return (
    <button type="button" className="missing-row" title={t('problem.goto')} onClick={go}>
      <span>{missing.type}</span>
      {missing.nodes.length > 1 && <span className="count">{`× ${missing.nodes.length}`}</span>}
    </button>
  )
}

function File({ missing }: { missing: MissingFile }) {
  const t = useT()
  const go = useRound(missing.nodes)
  const [picked, pick] = useState<string | null>(null)
  const chosen = picked ?? missing.near
  return (
    <div className="missing" role="group" aria-label={missing.value}>
      <button type="button" className="missing-row" title={t('problem.goto')} onClick={go}>
        <b>{missing.value}</b>
        {missing.nodes.length > 1 && <span className="count">{`× ${missing.nodes.length}`}</span>}
      </button>
      {missing.url && (
        <a href={missing.url} target="_blank" rel="noreferrer">
          {missing.url}
        </a>
      )}
      <div className="missing-choice">
        <select aria-label={t('missing.instead', { value: missing.value })} value={chosen} onChange={(event) => pick(event.target.value)}>
          <option value="">{inputName(missing.input)}</option>
          {missing.choices.map((choice) => (
            <option key={choice} value={choice}>
              {choice}
            </option>
          ))}
        </select>
        <button type="button" className="button" disabled={!chosen} onClick={() => replace(missing, chosen)}>
          {t('missing.replace')}
        </button>
      </div>
    </div>
  )
}

function replace(missing: MissingFile, chosen: string): void {
  commitFile(text('do.set', { input: inputName(missing.input) }), (root) => replaceEverywhere(root, serverDefinitions(), missing, chosen))
  tell(text('missing.replaced', { value: chosen, count: missing.nodes.length }))
}
