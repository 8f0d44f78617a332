import { useState } from 'react'
import { useT } from '../i18n'
import { viewUrl } from '../api/client'
import { crisp } from '../app/pictures'
import { toText } from '../io/json'
import type { InputDef } from '../model/definitions'
import type { Node } from '../model/document'
import { useDocuments } from '../state/documents'
import { useRun, type NodeRun } from '../state/run'
import { setView } from '../state/view'
import { inputPicture } from '../widgets/inputPicture'

/** The pictures a node has made, or the one it reads; while a run goes on, its newest preview. */
export function NodePictures({ node, run, upload }: { node: Node; run: NodeRun | undefined; upload: InputDef | undefined }) {
  const t = useT()
  const tab = useDocuments((state) => state.active)
  const live = useRun((state) => (state.current?.doc === tab && !upload ? state.current.preview : null))
  const given = upload && inputPicture(toText(node.values[upload.name]))
  const pictures = upload ? (given ? [given] : []) : (run?.pictures ?? [])
  const first = pictures[0]
  const shown = live ?? (first ? viewUrl(first) : null)
  const [gone, setGone] = useState<string | null>(null)
  return (
    <div className="card-picture nodrag">
      {shown && shown !== gone ? (
        <img src={shown} alt={first ? first.filename : ''} draggable={false} onLoad={crisp} onError={() => setGone(shown)} />
      ) : (
        <div className="nothing">
          {t('node.noPicture')}
          {!upload && (
            <>
              <br />
              {t('node.runHint')}
            </>
          )}
        </div>
      )}
      {first && !upload && <button type="button" tabIndex={-1} aria-label={t('side.open')} onClick={() => setView({ shown: viewUrl(first) })} />}
      {pictures.length > 1 && <span className="count">{t('node.picture', { at: 1, count: pictures.length })}</span>}
    </div>
  )
}
