import { useMemo } from 'react'
import { goTo } from '../graph/camera'
import { nameShown, problemWords, useT } from '../i18n'
import type { Definitions } from '../model/definitions'
import type { Document } from '../model/document'
import { missingOf } from '../model/missing'
import { nodeAt } from '../model/subgraphs'
import { holding, validate, type Problem, type Told } from '../model/validate'
import { useDefinitions } from '../state/definitions'
import { useDocuments } from '../state/documents'
import { useRun } from '../state/run'
import { MissingParts } from './MissingParts'

const NONE: readonly Problem[] = []
const NOTHING_TOLD: readonly Told[] = []

/** What the server and we say is wrong; what has been put right since is left out. */
export function useProblems(tab: string): readonly Problem[] {
  const doc = useDocuments((state) => state.tabs.find((each) => each.id === tab)?.history.present)
  const definitions = useDefinitions((state) => state.definitions)
  const told = useRun((state) => state.problems[tab] ?? NOTHING_TOLD)
  return useMemo(() => {
    if (!doc) return NONE
    const ours = validate(doc, definitions)
    const theirs = holding(doc, definitions, told)
    return [...theirs.filter((problem) => !ours.some((each) => each.node === problem.node && each.input === problem.input)), ...ours]
  }, [doc, definitions, told])
}

export function Problems() {
  const t = useT()
  const tab = useDocuments((state) => state.active)
  const doc = useDocuments((state) => state.tabs.find((each) => each.id === state.active)?.history.present)
  const definitions = useDefinitions((state) => state.definitions)
  const problems = useProblems(tab)
  const missing = useMemo(() => doc && missingOf(doc, definitions, problems), [doc, definitions, problems])
  if (!doc || !missing || !problems.length)
    return (
      <div className="calm">
        <b>{t('problem.none')}</b>
        {t('problem.noneHint')}
      </div>
    )
  return (
    <div className="list">
      <MissingParts missing={missing} />
      {missing.rest.map((problem, at) => {
        const node = nodeAt(doc, problem.node, definitions)
        return (
          <button key={at} type="button" className="trouble-item" title={t('problem.goto')} onClick={() => goTo(problem.node, true)}>
            <b>{node ? nameShown(node, doc, definitions) : problem.node}</b>
            <span>{problemWords(problem)}</span>
          </button>
        )
      })}
    </div>
  )
}

/** How many things there are to put right: a type or a file that is missing many times is one. */
export function countOf(doc: Document | undefined, definitions: Definitions, problems: readonly Problem[]): number {
  if (!doc || !problems.length) return 0
  const { types, files, rest } = missingOf(doc, definitions, problems)
  return types.length + files.length + rest.length
}
