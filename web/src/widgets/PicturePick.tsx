import { useRef } from 'react'
import { api } from '../api/client'
import { Icon } from '../app/Icon'
import { wordsOf } from '../app/refusals'
import { setField } from '../graph/actions'
import { t as text, useT } from '../i18n'
import type { InputDef } from '../model/definitions'
import { loadDefinitions } from '../state/definitions'
import { setView, tell } from '../state/view'

/** Stores a picture on the server; its name there, or null where that failed, which is told. */
export async function stored(file: File): Promise<string | null> {
  try {
    const name = await api.upload(file)
    await loadDefinitions()
    return name
  } catch (error) {
    tell(text('field.uploadFailed', { message: wordsOf(error) }), 'error')
    return null
  }
}

async function giveFile(node: string, input: string, file: File): Promise<void> {
  const name = await stored(file)
  if (name !== null) setField(node, input, name)
}

export function PicturePick({ node, input, hasPicture }: { node: string; input: InputDef; hasPicture: boolean }) {
  const t = useT()
  const chooser = useRef<HTMLInputElement>(null)
  return (
    <div className="field nodrag pick">
      <button type="button" onClick={() => chooser.current?.click()}>
        <Icon name="image" />
        {t('field.upload')}
      </button>
      {hasPicture && (
        <button type="button" onClick={() => setView({ mask: { node, input: input.name } })}>
          <Icon name="brush" />
          {t('field.mask')}
        </button>
      )}
      <input
        ref={chooser}
        type="file"
        accept="image/*"
        hidden
        onChange={(event) => {
          const file = event.target.files?.[0]
          if (file) void giveFile(node, input.name, file)
          event.target.value = ''
        }}
      />
    </div>
  )
}
