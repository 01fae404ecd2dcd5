// A table with row headers in its first column. It scrolls sideways if it is too wide.

import type { ComponentChildren } from 'preact'

export interface Column<Row> {
  readonly title: string
  /** Numbers are right-aligned. */
  readonly figures?: boolean
  cell(row: Row): ComponentChildren
}

export interface TableOf<Row> {
  readonly label: string
  readonly columns: readonly Column<Row>[]
  readonly rows: readonly Row[]
  keyOf(row: Row): string
  /** Limits the height: it scrolls downwards, too. */
  readonly short?: boolean
}

export function Table<Row>({ label, columns, rows, keyOf, short }: TableOf<Row>) {
  const kind = ({ figures }: Column<Row>) => (figures ? 'number' : undefined)
  return (
    <div class={short ? 'scroll short' : 'scroll'} tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map(column => (
              <th key={column.title} scope="col" class={kind(column)}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(row => (
            <tr key={keyOf(row)}>
              {columns.map((column, i) =>
                i === 0 ? (
                  <th key={column.title} scope="row">
                    {column.cell(row)}
                  </th>
                ) : (
                  <td key={column.title} class={kind(column)}>
                    {column.cell(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
