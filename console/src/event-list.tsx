// Events and gaps as a list, newest first. Rows are drawn when they are scrolled to.

import { useState } from 'preact/hooks'
import type { FanwireEvent } from './api.ts'
import { clock, moment, preview } from './format.ts'
import type { Row } from './tail.ts'

/** The rows that are drawn at first (more than are visible), and that scrolling adds. */
const PART = 30

export function EventList({ rows, empty }: { rows: readonly Row[]; empty: string }) {
  const [shown, setShown] = useState(PART)
  if (rows.length === 0) return <p class="dim">{empty}</p>
  const scrolled = ({ currentTarget }: { readonly currentTarget: HTMLElement }) => {
    const { scrollTop, scrollHeight, clientHeight } = currentTarget
    if (scrollTop === 0) setShown(PART)
    else if (scrollHeight - scrollTop < 2 * clientHeight) setShown(Math.min(rows.length, shown + PART))
  }
  const newest = rows.slice(-shown).reverse()
  return (
    <ol class="events" reversed start={rows.length} onScroll={scrolled}>
      {newest.map((row, i) =>
        'gap' in row ? (
          <li key={`gap ${row.gap.to} ${i}`} class="gap">
            Gap: events after {row.gap.from}, up to {row.gap.to}, may be missing.
          </li>
        ) : (
          <EventRow key={row.event.id ?? i} event={row.event} />
        ),
      )}
    </ol>
  )
}

function EventRow({ event }: { event: FanwireEvent }) {
  const { id, time, type, tags, channel, erased } = event
  return (
    <li>
      <div class="about">
        {time !== undefined && <time title={moment(time)}>{clock(time)}</time>}
        {type !== undefined && <b>{type}</b>}
        {Object.entries(tags ?? {}).map(([name, value]) => (
          <span key={name} class="tag">
            {name}: {value}
          </span>
        ))}
        {id === undefined ? (
          <span>transient</span>
        ) : (
          <a href={`#/time?channel=${encodeURIComponent(channel)}&at=${id}`}>{id}</a>
        )}
      </div>
      <code class="data">{erased === true ? 'erased' : preview(event.data)}</code>
    </li>
  )
}
