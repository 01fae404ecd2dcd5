// Lists the channels that nodes follow, by pattern, and opens any channel by its name.

import { useState } from 'preact/hooks'
import { ApiError, get } from '../api.ts'
import { count } from '../format.ts'
import { Problem } from '../parts.tsx'
import { usePolled } from '../state.ts'
import { type Column, Table } from '../table.tsx'

interface Listed {
  readonly channel: string
  readonly readers: number
  readonly rate: number
  readonly head?: string
  readonly nodes: number
}

interface Page {
  readonly channels: readonly Listed[]
  readonly next?: string
}

const EVERY_MS = 3000
const LIMIT = 200

const COLUMNS: readonly Column<Listed>[] = [
  {
    title: 'Channel',
    cell: ({ channel }) => <a href={`#/channels/${encodeURIComponent(channel)}`}>{channel}</a>,
  },
  { title: 'Readers', figures: true, cell: ({ readers }) => count(readers) },
  { title: 'Events/s', figures: true, cell: ({ rate }) => count(rate) },
  { title: 'Nodes', figures: true, cell: ({ nodes }) => count(nodes) },
  { title: 'Head', cell: ({ head }) => <code>{head}</code> },
]

export function Channels() {
  const [text, setText] = useState('')
  const [pages, setPages] = useState<readonly string[]>([''])
  const after = pages.at(-1) ?? ''
  const isPattern = text.includes('*')
  const { value, error } = usePolled(
    signal => {
      const query = new URLSearchParams({ limit: String(LIMIT), match: isPattern ? text : '*' })
      if (after !== '') query.set('after', after)
      return get<Page>(`/v1/admin/channels?${query}`, signal)
    },
    EVERY_MS,
    [isPattern ? text : '*', after],
  )
  const forbidden = error instanceof ApiError && (error.status === 403 || error.status === 401)
  const shown = value?.channels.filter(({ channel }) => isPattern || channel.includes(text)) ?? []
  return (
    <>
      <h1>Channels</h1>
      <form
        class="row"
        role="search"
        onSubmit={event => {
          event.preventDefault()
          if (text !== '' && !isPattern) location.hash = `#/channels/${encodeURIComponent(text)}`
        }}
      >
        <label class="grow">
          Name, or a pattern such as <code>chat:*</code>
          <input
            type="search"
            value={text}
            onInput={event => {
              setText(event.currentTarget.value)
              setPages([''])
            }}
          />
        </label>
        <button type="submit" disabled={text === '' || isPattern}>
          Open
        </button>
      </form>
      {forbidden ? (
        <p class="hint">
          Listing channels needs the right <code>admin</code>. Enter the name of a channel that you may read.
        </p>
      ) : (
        <Problem error={error} />
      )}
      {value !== undefined && !forbidden && (
        <>
          <Table label="Channels" columns={COLUMNS} rows={shown} keyOf={({ channel }) => channel} />
          {shown.length === 0 && <p class="dim">No node follows a channel with this name.</p>}
          <div class="row">
            <button type="button" disabled={pages.length === 1} onClick={() => setPages(pages.slice(0, -1))}>
              Previous page
            </button>
            <button
              type="button"
              disabled={value.next === undefined}
              onClick={() => value.next !== undefined && setPages([...pages, value.next])}
            >
              Next page
            </button>
          </div>
        </>
      )}
    </>
  )
}
