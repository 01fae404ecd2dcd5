// The channels that nodes follow, by pattern; and any channel by its name.

import { useState } from 'preact/hooks'
import { ApiError, get } from '../api.ts'
import { count } from '../format.ts'
import { Problem } from '../parts.tsx'
import { usePolled } from '../state.ts'

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
          Listing channels needs the right admin. A channel that you may read opens by its name.
        </p>
      ) : (
        <Problem error={error} />
      )}
      {value !== undefined && !forbidden && (
        <>
          <div class="scroll" tabIndex={0} role="region" aria-label="Channels">
            <table>
              <thead>
                <tr>
                  <th scope="col">Channel</th>
                  <th scope="col" class="number">
                    Readers
                  </th>
                  <th scope="col" class="number">
                    Events/s
                  </th>
                  <th scope="col" class="number">
                    Nodes
                  </th>
                  <th scope="col">Head</th>
                </tr>
              </thead>
              <tbody>
                {shown.map(({ channel, readers, rate, nodes, head }) => (
                  <tr key={channel}>
                    <th scope="row">
                      <a href={`#/channels/${encodeURIComponent(channel)}`}>{channel}</a>
                    </th>
                    <td class="number">{count(readers)}</td>
                    <td class="number">{count(rate)}</td>
                    <td class="number">{count(nodes)}</td>
                    <td>
                      <code>{head}</code>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {shown.length === 0 && <p class="dim">No channel that a node follows is called so.</p>}
          <div class="row">
            <button type="button" disabled={pages.length === 1} onClick={() => setPages(pages.slice(0, -1))}>
              Page before
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
