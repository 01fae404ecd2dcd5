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

/** A page of the channels that match `text`, out of as many names as the node has listed for it. */
interface Found extends Page {
  readonly text: string
  readonly names: number
}

const EVERY_MS = 3000
const LIMIT = 200
/** The maximum names that the node lists in one response. */
const MOST = 1000
/** The maximum names that are searched for one page. */
const SEARCHED = 10_000

const isPattern = (text: string) => text.includes('*')

function listed(query: Record<string, string>, after: string, signal: AbortSignal): Promise<Page> {
  const all = new URLSearchParams(after === '' ? query : { ...query, after })
  return get<Page>(`/v1/admin/channels?${all}`, signal)
}

/** At least LIMIT channels that match, unless there are fewer among the next SEARCHED names. */
async function find(text: string, after: string, signal: AbortSignal): Promise<Found> {
  if (text === '' || isPattern(text)) {
    const page = await listed({ limit: `${LIMIT}`, match: text || '*' }, after, signal)
    return { ...page, text, names: page.channels.length }
  }
  const channels: Listed[] = []
  let names = 0
  let next: string | undefined = after
  while (next !== undefined && names < SEARCHED && channels.length < LIMIT) {
    const page: Page = await listed({ limit: `${MOST}` }, next, signal)
    channels.push(...page.channels.filter(({ channel }) => channel.includes(text)))
    names += page.channels.length
    next = page.next
  }
  return { channels, ...(next === undefined ? {} : { next }), text, names }
}

/** Why a page is empty. */
function emptyPage({ next, names }: Found, isFirst: boolean): string {
  if (next !== undefined)
    return `Not among the ${count(names)} names of this page; there are more on the next.`
  return isFirst ? 'No node follows a channel with this name.' : 'No more channels with this name.'
}

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
  const { value, error } = usePolled(signal => find(text, after, signal), EVERY_MS, [text, after])
  const forbidden = error instanceof ApiError && (error.status === 403 || error.status === 401)
  const shown = value?.channels.filter(({ channel }) => isPattern(text) || channel.includes(text)) ?? []
  return (
    <>
      <h1>Channels</h1>
      <form
        class="row"
        role="search"
        onSubmit={event => {
          event.preventDefault()
          if (text !== '' && !isPattern(text)) location.hash = `#/channels/${encodeURIComponent(text)}`
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
        <button type="submit" disabled={text === '' || isPattern(text)}>
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
          {shown.length === 0 && value.text === text && (
            <p class="dim">{emptyPage(value, pages.length === 1)}</p>
          )}
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
