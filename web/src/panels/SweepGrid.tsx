import { useState } from 'react'
import { viewUrl, type Axis, type JobRecord, type Picture } from '../api/client'
import { crisp } from '../app/pictures'
import { inputName, useT } from '../i18n'
import { openPicture } from './queueActions'

interface Props {
  readonly record: JobRecord
  readonly pictures: readonly Picture[]
  readonly shown: Picture | undefined
  readonly pick: (at: number) => void
}

/** The cells of a sweep: the last axis across, the one before it down, all others leafed through. A click shows a cell
 *  large, a double click or Enter opens its own workflow. */
export function SweepGrid({ record, pictures, shown, pick }: Props) {
  const t = useT()
  const [page, setPage] = useState<readonly number[]>([])
  const axes = record.axes
  const across = axes.length - 1
  const down = axes.length - 2
  const rest = axes.slice(0, Math.max(0, down))
  const at = (axis: number): number => Math.min(page[axis] ?? 0, (axes[axis]?.labels.length ?? 1) - 1)
  const find = (row: number, column: number): number => pictures.findIndex(({ cell }) => cell !== undefined && fits(cell[across], column) && (down < 0 || fits(cell[down], row)) && rest.every((_, axis) => fits(cell[axis], at(axis))))
  const columns = axes[across]?.labels ?? []
  const rows = down < 0 ? [''] : (axes[down]?.labels ?? [])
  return (
    <div className="sweep">
      {rest.map((axis, number) => (
        <label key={axis.name}>
          {axisName(axis)}
          <select value={at(number)} onChange={(event) => setPage(axes.map((_, each) => (each === number ? Number(event.target.value) : (page[each] ?? 0))))}>
            {axis.labels.map((label, place) => (
              <option key={place} value={place}>
                {label}
              </option>
            ))}
          </select>
        </label>
      ))}
      <div className="sweep-scroll" tabIndex={0} role="region" aria-label={t('sweep.grid')}>
        <table>
          <thead>
            <tr>
              {down >= 0 && <th scope="col">{`${axisName(axes[down])} \u2193 \u00b7 ${axisName(axes[across])} \u2192`}</th>}
              {columns.map((label, column) => (
                <th key={column} scope="col" title={label}>
                  {down < 0 ? `${axisName(axes[across])} ${label}` : label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((label, row) => (
              <tr key={row}>
                {down >= 0 && (
                  <th scope="row" title={label}>
                    {label}
                  </th>
                )}
                {columns.map((_, column) => (
                  <td key={column}>
                    <Cell place={find(row, column)} pictures={pictures} shown={shown} pick={pick} name={nameOf(axes, row, column)} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  )
}

/** An axis is called what its inputs are, in the user's words, unless somebody has given it a name. */
const axisName = (axis: Axis | undefined): string => (axis?.inputs.every(({ input }) => input === axis.name) ? inputName(axis.name) : (axis?.name ?? ''))

/** An axis that a picture does not depend on fits everywhere. */
const fits = (place: number | null | undefined, wanted: number): boolean => place === null || place === undefined || place === wanted

const nameOf = (axes: readonly Axis[], row: number, column: number): string => axes.slice(-2).map((axis, at, all) => `${axisName(axis)} ${axis.labels[all.length - at === 1 ? column : row] ?? ''}`).join(', ')

function Cell({ place, pictures, shown, pick, name }: { place: number; pictures: readonly Picture[]; shown: Picture | undefined; pick: (at: number) => void; name: string }) {
  const picture = pictures[place]
  if (!picture) return <span className="sweep-none" />
  return (
    <button type="button" className="sweep-cell" aria-pressed={picture === shown} aria-label={name} title={name} onClick={() => pick(place)} onDoubleClick={() => void openPicture(picture)} onKeyDown={(event) => event.key === 'Enter' && !event.ctrlKey && (event.preventDefault(), void openPicture(picture))}>
      <img src={viewUrl(picture, true)} alt="" loading="lazy" onLoad={crisp} />
    </button>
  )
}
