// A channel's history: the last events before a position, and a replay from there.

import { useEffect, useState } from 'preact/hooks'
import { type FanwireEvent, type Gap, get } from '../api.ts'
import { EventList } from '../event-list.tsx'
import { count, counted, moment } from '../format.ts'
import { Panel, Problem } from '../parts.tsx'
import { channelPath, epochOf, offsetOf, replaceRoute, usePolled } from '../state.ts'
import { useTail } from '../tail.ts'

interface State {
  readonly head: string
  readonly tail: string | null
  readonly count: number
}

const SHOWN = 20

export function TimeLine({ first, at }: { first: string; at: string }) {
  const [channel, setChannel] = useState(first)
  return (
    <>
      <h1>Time line</h1>
      <form class="row" onSubmit={event => event.preventDefault()}>
        <label class="grow">
          Channel
          <input
            value={channel}
            placeholder="news"
            onChange={event => {
              setChannel(event.currentTarget.value)
              replaceRoute(`#/time?channel=${encodeURIComponent(event.currentTarget.value)}`)
            }}
          />
        </label>
        <button type="submit">Open</button>
      </form>
      {channel === '' ? (
        <p class="hint">Enter a channel to move through its history.</p>
      ) : (
        <Scrubber key={channel} channel={channel} at={at} />
      )}
    </>
  )
}

function Scrubber({ channel, at }: { channel: string; at: string }) {
  const { value: state, error } = usePolled(signal => get<State>(channelPath(channel), signal), 3000, [
    channel,
  ])
  /** A position; empty: the head. */
  const [chosen, setChosen] = useState(at)
  if (state === undefined) return <Problem error={error} />
  if (state.tail === null) return <p class="hint">The log keeps no events of this channel.</p>
  const epoch = epochOf(state.head)
  const last = offsetOf(state.head)
  const begin = offsetOf(state.tail)
  const isElsewhere = chosen !== '' && epochOf(chosen) !== epoch
  // Offsets continue from epoch to epoch. The slider names positions of the current epoch.
  const offset =
    chosen === '' ? last : isElsewhere ? begin : Math.min(last, Math.max(begin, offsetOf(chosen)))
  const position = isElsewhere ? chosen : `${epoch}-${offset}`
  return (
    <>
      <Problem error={error} />
      <label class="scrubber">
        A reader at position <code>{position}</code>
        {chosen === '' && ' (the head)'}
        <input
          type="range"
          min={begin}
          max={last}
          value={offset}
          onInput={event => {
            const value = Number(event.currentTarget.value)
            setChosen(value === last ? '' : `${epoch}-${value}`)
            replaceRoute(`#/time?channel=${encodeURIComponent(channel)}&at=${epoch}-${value}`)
          }}
        />
        <span class="ends">
          <span>{state.tail}</span>
          <span>{state.head}</span>
        </span>
      </label>
      <p class="dim">
        {isElsewhere
          ? 'This position is in another epoch of the channel. The slider covers the current one.'
          : `${count(offset - begin + 1)} of ${count(state.count)} kept events up to this position, ${count(last - offset)} after it.`}
      </p>
      <div class="grid">
        <Seen channel={channel} position={position} />
        <Replay channel={channel} position={position} isHead={position === state.head} />
      </div>
    </>
  )
}

interface HistoryPage {
  readonly events: readonly FanwireEvent[]
  readonly gaps?: readonly Gap[]
}

function Seen({ channel, position }: { channel: string; position: string }) {
  const [{ events, gaps = [] }, setPage] = useState<HistoryPage>({ events: [] })
  const [error, setError] = useState<unknown>()
  useEffect(() => {
    const abort = new AbortController()
    const before = `${epochOf(position)}-${offsetOf(position) + 1}`
    // The delay avoids a request for each position while the user drags the slider.
    const timer = setTimeout(() => {
      get<HistoryPage>(`${channelPath(channel)}/events?before=${before}&limit=${SHOWN}`, abort.signal)
        .then(page => {
          setPage(page)
          setError(undefined)
        })
        .catch(error => abort.signal.aborted || setError(error))
    }, 100)
    return () => {
      clearTimeout(timer)
      abort.abort()
    }
  }, [channel, position])
  const newest = events.at(-1)
  return (
    <Panel title="Events before this position">
      <Problem error={error} />
      {newest !== undefined && <p class="dim">The last one is from {moment(newest.time)}.</p>}
      <EventList
        rows={[...events.map(event => ({ event })), ...gaps.map(gap => ({ gap }))]}
        empty="No events."
      />
    </Panel>
  )
}

function Replay({ channel, position, isHead }: { channel: string; position: string; isHead: boolean }) {
  const [speed, setSpeed] = useState('10')
  const [run, setRun] = useState<{ from: string; speed: string }>()
  const tail = useTail({
    channel,
    cursor: run?.from ?? '',
    most: SHOWN,
    also: run === undefined ? '' : `&until=head&speed=${run.speed}`,
    reconnects: false,
    on: run !== undefined,
  })
  return (
    <Panel title="Replay from here">
      <div class="row">
        <label>
          Speed
          <select value={speed} onChange={event => setSpeed(event.currentTarget.value)}>
            {['1', '10', '100', '1000'].map(each => (
              <option key={each} value={each}>
                {each} ×
              </option>
            ))}
          </select>
        </label>
        {run === undefined ? (
          <button type="button" disabled={isHead} onClick={() => setRun({ from: position, speed })}>
            Replay
          </button>
        ) : (
          <button type="button" onClick={() => setRun(undefined)}>
            Stop
          </button>
        )}
        <span class="dim" role="status">
          {run === undefined ? '' : `${tail.state} · ${counted(tail.total, 'event')}`}
        </span>
      </div>
      {run !== undefined && <EventList rows={tail.rows} empty="Waiting for the first event." />}
    </Panel>
  )
}
