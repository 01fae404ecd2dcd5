// One channel: its state, readers and members, a live tail, and a form to publish.

import { useState } from 'preact/hooks'
import costs from '../../../bench/results/costs.json'
import { ApiError, get, publish, wordsOf } from '../api.ts'
import { EventList } from '../event-list.tsx'
import { bytes, count, counted, duration } from '../format.ts'
import { Figure, Panel, Problem } from '../parts.tsx'
import { adminChannelPath, channelPath, epochOf, offsetOf, usePolled } from '../state.ts'
import { type Column, Table } from '../table.tsx'
import { useTail } from '../tail.ts'

interface State {
  readonly head: string
  readonly tail?: string | null
  readonly count: number
  readonly readers: number
  readonly rate?: number
  readonly rule?: {
    readonly match: string
    readonly line: number
    readonly subscribe: string[]
    readonly publish: string[]
  }
  readonly history?: { readonly events: number; readonly age: number; readonly bytes: number }
}

interface Reader {
  readonly id: string
  readonly user: string
  readonly wire: string
  readonly position?: string
  readonly blocked: boolean
  readonly node: string
}

const EVERY_MS = 3000
const SHOWN = 200

async function stateOf(channel: string, signal: AbortSignal): Promise<State> {
  try {
    return await get<State>(adminChannelPath(channel), signal)
  } catch (error) {
    if (error instanceof ApiError && [401, 403].includes(error.status))
      return get<State>(channelPath(channel), signal)
    throw error
  }
}

export function Channel({ channel }: { channel: string }) {
  const { value: state, error } = usePolled(signal => stateOf(channel, signal), EVERY_MS, [channel])
  return (
    <>
      <p class="crumbs">
        <a href="#/channels">Channels</a> /
      </p>
      <h1>{channel}</h1>
      <Problem error={error} />
      {state !== undefined && (
        <dl class="figures">
          <Figure name="Readers" value={count(state.readers)} />
          {state.rate !== undefined && (
            <Figure name="Events" value={`${count(state.rate)}/s`} note="last 10 s" />
          )}
          <Figure name="Kept" value={count(state.count)} note="events" />
          <Figure name="Head" value={state.head} />
          <Figure name="Tail" value={state.tail ?? 'none'} />
        </dl>
      )}
      <div class="row links">
        <a href={`#/time?channel=${encodeURIComponent(channel)}`}>Time line</a>
        <a href={`#/workbench?channel=${encodeURIComponent(channel)}`}>Workbench</a>
      </div>
      <div class="grid">
        <Live channel={channel} />
        <Publish channel={channel} />
        {state?.rule !== undefined && <Rule state={state} />}
        <Readers channel={channel} head={state?.head} />
        <Members channel={channel} />
        <Cost rate={state?.rate ?? 0} />
      </div>
    </>
  )
}

const BEGINS: Readonly<Record<string, string>> = {
  latest: 'now',
  'last:100': 'the last 100 events',
  earliest: 'the oldest event kept',
  time: 'a time',
  position: 'a position',
}

/** The cursor of a choice, with the time or position that was entered; empty if that is missing. */
function cursorOf(begin: string, given: string): string {
  if (begin === 'position') return given.trim()
  if (begin !== 'time') return begin
  return given === '' ? '' : `since:${new Date(given).getTime()}`
}

function Live({ channel }: { channel: string }) {
  const [on, setOn] = useState(true)
  const [text, setText] = useState('')
  const [begin, setBegin] = useState('latest')
  const [given, setGiven] = useState('')
  const cursor = cursorOf(begin, given)
  const tail = useTail({ channel, cursor, most: SHOWN, reconnects: true, on: on && cursor !== '' })
  const rows = text === '' ? tail.rows : tail.rows.filter(row => JSON.stringify(row).includes(text))
  return (
    <Panel title="Live" wide>
      <div class="row">
        <button type="button" aria-pressed={!on} onClick={() => setOn(!on)}>
          {on ? 'Pause' : 'Continue'}
        </button>
        <label>
          From
          <select
            value={begin}
            onChange={event => {
              setBegin(event.currentTarget.value)
              setGiven('')
            }}
          >
            {Object.entries(BEGINS).map(([value, title]) => (
              <option key={value} value={value}>
                {title}
              </option>
            ))}
          </select>
        </label>
        {begin === 'time' && (
          <label>
            Time
            <input
              type="datetime-local"
              step={1}
              value={given}
              onChange={event => setGiven(event.currentTarget.value)}
            />
          </label>
        )}
        {begin === 'position' && (
          <label>
            Position
            <input
              value={given}
              placeholder="m3k9zq-42"
              onChange={event => setGiven(event.currentTarget.value)}
            />
          </label>
        )}
        <label class="grow">
          Contains text
          <input type="search" value={text} onInput={event => setText(event.currentTarget.value)} />
        </label>
        <span class="dim" role="status">
          {!on ? 'paused' : cursor === '' ? '' : `${tail.state} · ${counted(tail.total, 'event')}`}
        </span>
      </div>
      <EventList rows={rows} empty="No events yet." />
    </Panel>
  )
}

export function parseData(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function Publish({ channel }: { channel: string }) {
  const [data, setData] = useState('{"hello":"world"}')
  const [type, setType] = useState('')
  const [result, setResult] = useState('')
  const go = async (event: Event) => {
    event.preventDefault()
    try {
      const { id } = await publish(channel, parseData(data), type)
      setResult(`Published as ${id}.`)
    } catch (error) {
      setResult(wordsOf(error))
    }
  }
  return (
    <Panel title="Publish">
      <form onSubmit={go}>
        <label>
          Data (JSON or text)
          <textarea rows={3} value={data} onInput={event => setData(event.currentTarget.value)} />
        </label>
        <label>
          Type (optional)
          <input value={type} maxLength={64} onInput={event => setType(event.currentTarget.value)} />
        </label>
        <div class="row">
          <button type="submit">Publish</button>
          <span role="status" class="dim">
            {result}
          </span>
        </div>
      </form>
    </Panel>
  )
}

function Rule({ state }: { state: State }) {
  const { rule, history } = state
  return (
    <Panel title="Rule and limits">
      <dl class="pairs">
        <dt>Rule</dt>
        <dd>
          <code>{rule?.match}</code>{' '}
          {rule?.line ? `(line ${rule.line} of the rules file)` : '(the default: no rule of a file matches)'}
        </dd>
        <dt>Subscribe</dt>
        <dd>{rule?.subscribe.join(', ')}</dd>
        <dt>Publish</dt>
        <dd>{rule?.publish.join(', ')}</dd>
        {history !== undefined && (
          <>
            <dt>Kept</dt>
            <dd>
              {counted(history.events, 'event')}, {duration(history.age)}, {bytes(history.bytes)}
            </dd>
          </>
        )}
      </dl>
    </Panel>
  )
}

function Readers({ channel, head }: { channel: string; head: string | undefined }) {
  const { value, error } = usePolled(
    signal =>
      get<{ readers: Reader[]; next?: string }>(`${adminChannelPath(channel)}/readers?limit=100`, signal),
    EVERY_MS,
    [channel],
  )
  if (error instanceof ApiError && [401, 403].includes(error.status)) return null
  const behind = ({ position }: Reader) =>
    position === undefined || head === undefined || epochOf(position) !== epochOf(head)
      ? '?'
      : count(Math.max(0, offsetOf(head) - offsetOf(position)))
  const columns: readonly Column<Reader>[] = [
    { title: 'User', cell: ({ user }) => (user === '' ? <i>anonymous</i> : user) },
    { title: 'Wire', cell: ({ wire }) => wire },
    { title: 'Behind', figures: true, cell: each => `${behind(each)}${each.blocked ? ' (full)' : ''}` },
    { title: 'Node', cell: ({ node }) => <code>{node}</code> },
  ]
  return (
    <Panel title="Readers">
      <Problem error={error} />
      {value?.readers.length === 0 && <p class="dim">No readers.</p>}
      {value !== undefined && value.readers.length > 0 && (
        <Table label="Readers" short columns={columns} rows={value.readers} keyOf={({ id }) => id} />
      )}
      {value?.next !== undefined && <p class="dim">The first 100 are shown.</p>}
    </Panel>
  )
}

interface Presence {
  readonly users: number
  readonly clients: number
  readonly members: readonly { readonly user: string; readonly since: number }[]
}

function Members({ channel }: { channel: string }) {
  const { value } = usePolled(
    signal => get<Presence>(`${channelPath(channel)}/presence?limit=100`, signal),
    EVERY_MS,
    [channel],
  )
  if (value === undefined) return null
  return (
    <Panel title="Members">
      <p>
        {count(value.users)} users, {count(value.clients)} clients
      </p>
      <ul class="members">
        {value.members.map(({ user, since }) => (
          <li key={user}>
            {user} <span class="dim">for {duration(Date.now() - since)}</span>
          </li>
        ))}
      </ul>
    </Panel>
  )
}

interface Point {
  readonly events: number
  readonly cpu: number
  /** Bytes per second that are sent to the client. */
  readonly in: number
}

/** The measured cost of a reader at the nearest rate. */
function costOf(points: readonly Point[], rate: number): Point | undefined {
  return [...points].sort((a, b) => Math.abs(a.events - rate) - Math.abs(b.events - rate))[0]
}

const A_DAY_S = 86_400

interface WireCost {
  readonly wire: string
  readonly cost: Point
}

const COST: readonly Column<WireCost>[] = [
  { title: 'Wire', cell: ({ wire }) => wire },
  { title: 'CPU', figures: true, cell: ({ cost }) => `${(cost.cpu / 1000).toFixed(2)} ms/s` },
  { title: 'Bytes sent per day', figures: true, cell: ({ cost }) => bytes(cost.in * A_DAY_S) },
]

function Cost({ rate }: { rate: number }) {
  const wires = Object.entries(costs.wires as unknown as Record<string, { points: Point[] }>)
  const rows = wires.flatMap(([wire, { points }]) => {
    const cost = costOf(points, rate)
    return cost === undefined ? [] : [{ wire, cost }]
  })
  return (
    <Panel title="Cost of a reader">
      <p class="dim">
        Measured by the load test at the rate nearest to {count(rate)} events/s, with events of {costs.size}{' '}
        bytes.
      </p>
      <Table label="Costs" columns={COST} rows={rows} keyOf={({ wire }) => wire} />
    </Panel>
  )
}
