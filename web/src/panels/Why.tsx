import { useEffect, useState } from 'react'
import { api, type Explained } from '../api/client'
import { goTo } from '../graph/camera'
import { about, inputName, nameShown, seconds, t as text, useT, type TextKey } from '../i18n'
import { nodeAt } from '../model/subgraphs'
import { useDefinitions } from '../state/definitions'
import { useDocuments } from '../state/documents'
import { ownerOf, useRun } from '../state/run'

const KINDS = ['first', 'value', 'file', 'link', 'upstream', 'code', 'surroundings', 'beside', 'destination', 'restarted', 'evicted', 'files_gone'] as const
const DID = ['ran', 'at_hand', 'failed', 'stopped', 'not_needed', 'not_reached'] as const

type Reason = Explained['reasons'][number]

/** Why a node ran in this workflow's newest run that has ended, or why it did not have to. */
export function Why({ id }: { id: string }) {
  const t = useT()
  const tab = useDocuments((state) => state.active)
  const job = useRun((state) => state.jobs.find((each) => each.status !== 'pending' && each.status !== 'in_progress' && ownerOf(each.id) === tab)?.id)
  const all = useExplained(job)
  const told = all?.get(id)
  const did = DID.find((each) => each === told?.did)
  if (!told || !did) return null
  return (
    <section className="why" aria-label={t('why.title')}>
      <h3>{t('why.title')}</h3>
      <p>{t(`why.${did}`)}</p>
      {told.reasons.length > 0 && (
        <ul>
          {told.reasons.map((reason, at) => (
            <li key={at}>
              <Because reason={reason} own={id} />
            </li>
          ))}
        </ul>
      )}
      {(told.seconds !== null || told.peak !== null) && (
        <p className="quiet">{[told.seconds !== null && t('node.seconds', { seconds: seconds(told.seconds) }), told.peak !== null && t('why.peak', { size: sizeOf(told.peak) })].filter(Boolean).join(' · ')}</p>
      )}
    </section>
  )
}

/** One reason; what changed elsewhere can be gone to. */
function Because({ reason, own }: { reason: Reason; own: string }) {
  const t = useT()
  const kind = KINDS.find((each) => each === reason.kind)
  const words = kind ? t(wordsFor(kind, reason), { input: inputName(reason.input), before: reason.before, after: reason.after }) : reason.kind
  const name = useName(reason.node)
  if (!reason.node || reason.node === own) return words
  return (
    <>
      <button type="button" className="link-button" onClick={() => goTo(reason.node, true)}>
        {name}
      </button>
      {about('', words)}
    </>
  )
}

const wordsFor = (kind: (typeof KINDS)[number], reason: Reason): TextKey => (kind === 'value' && !reason.before ? 'why.kind.added' : `why.kind.${kind}`)

function useName(id: string): string {
  const root = useDocuments((state) => state.tabs.find((each) => each.id === state.active)?.history.present)
  const definitions = useDefinitions((state) => state.definitions)
  const node = root && nodeAt(root, id, definitions)
  return node && root ? nameShown(node, root, definitions) : id
}

/** What the server says of a job; null until it has. */
function useExplained(job: string | undefined): ReadonlyMap<string, Explained> | null {
  const [all, setAll] = useState<ReadonlyMap<string, Explained> | null>(null)
  useEffect(() => {
    setAll(null)
    if (job === undefined) return
    let wanted = true
    api.explain(job).then(
      (answer) => wanted && setAll(answer),
      () => undefined, // of a job of long ago nothing is known any more
    )
    return () => {
      wanted = false
    }
  }, [job])
  return all
}

const sizeOf = (bytes: number): string => (bytes < 2 ** 20 ? text('why.kib', { size: Math.max(1, Math.round(bytes / 2 ** 10)) }) : bytes < 2 ** 30 ? text('why.mib', { size: Math.round(bytes / 2 ** 20) }) : text('why.gib', { size: (bytes / 2 ** 30).toFixed(2) }))
