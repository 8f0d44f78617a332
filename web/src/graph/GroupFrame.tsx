import { NodeResizeControl, type NodeProps } from '@xyflow/react'
import { memo, type CSSProperties } from 'react'
import { t as text } from '../i18n'
import { setGroup } from '../model/edit'
import { commit } from '../state/documents'
import { setView, useView } from '../state/view'
import type { Frame } from './toFlow'

export const GroupFrame = memo(function GroupFrame({ id, data: { group, index }, selected }: NodeProps<Frame>) {
  const renaming = useView((view) => view.renaming === id)
  const finish = (title: string): void => {
    setView({ renaming: null })
    if (title !== group.title) commit(text('do.rename'), (doc) => setGroup(doc, index, { title }))
  }
  return (
    <div className={`frame ${selected ? 'selected' : ''}`} style={{ '--c': group.color || '#8a7f6d' } as CSSProperties}>
      <div className="frame-title" onDoubleClick={() => setView({ renaming: id })}>
        {renaming ? (
          <input
            className="nodrag"
            aria-label={group.title}
            defaultValue={group.title}
            autoFocus
            onBlur={(event) => finish(event.target.value)}
            onKeyDown={(event) => {
              event.stopPropagation()
              if (event.key === 'Enter') finish(event.currentTarget.value)
              if (event.key === 'Escape') setView({ renaming: null })
            }}
          />
        ) : (
          group.title
        )}
      </div>
      {selected && (
        <NodeResizeControl
          position="bottom-right"
          className="card-resize"
          minWidth={80}
          minHeight={60}
          onResizeEnd={(_, box) => commit(text('do.resize'), (doc) => setGroup(doc, index, { box: [group.box[0], group.box[1], Math.round(box.width), Math.round(box.height)] }))}
        />
      )}
    </div>
  )
})
