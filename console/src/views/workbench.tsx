// One channel over every wire, side by side: an event is published once and arrives in each pane.

import { useEffect, useReducer, useRef, useState } from 'preact/hooks'
import { type FanwireEvent, isAbort, publish, wordsOf } from '../api.ts'
import { bytes, count, ms, preview } from '../format.ts'
import { type Pace, paced } from '../pace.ts'
import { Problem } from '../parts.tsx'
import { reconnect } from '../reconnect.ts'
import { type Fault, type Sink, WIRES } from '../wires.ts'

const SHOWN = 6
const RECONNECT_MS = 1000
const CUT_MS = 3000

type Choice = Fault | 'cuts'

const FAULTS: Readonly<Record<Choice, string>> = {
  none: 'none',
  cuts: 'cuts every connection after 3 s',
  'no-upgrades': 'refuses WebSocket',
  buffers: 'buffers responses up to 4 KiB',
}

interface Arrival {
  readonly key: string
  readonly text: string
  /** Ms since this page published it; undefined if another client did. */
  readonly delay: number | undefined
}

/** The data of the events that this page publishes. */
interface Sent {
  readonly number: number
  /** Ms since 1970. */
  readonly sent: number
}

/** The contents of a pane, and its reader's cursor. */
class Pane implements Sink {
  cursor = 'latest'
  state = 'connecting'
  events = 0
  gaps = 0
  received = 0
  arrivals: readonly Arrival[] = []
  readonly #changed: () => void

  constructor(changed: () => void) {
    this.#changed = changed
  }

  open(): void {
    this.setState('open')
  }

  setState(state: string): void {
    this.state = state
    this.#changed()
  }

  bytes(size: number): void {
    this.received += size
    this.#changed()
  }

  event({ id, data }: FanwireEvent): void {
    this.events++
    const sent = typeof data === 'object' && data !== null && 'sent' in data ? Number(data.sent) : Number.NaN
    const delay = Number.isNaN(sent)
      ? undefined
      : Math.max(0, performance.timeOrigin + performance.now() - sent)
    this.arrivals = [
      { key: id, text: delay === undefined ? preview(data, 80) : `number ${(data as Sent).number}`, delay },
      ...this.arrivals,
    ].slice(0, SHOWN)
    this.#changed()
  }

  gap(): void {
    this.gaps++
    this.#changed()
  }
}

export function Workbench({ first }: { first: string }) {
  const [channel, setChannel] = useState(first)
  const [fault, setFault] = useState<Choice>('none')
  const [error, setError] = useState<unknown>()
  const [number, setNumber] = useState(1)
  const publishOne = async (event: Event) => {
    event.preventDefault()
    try {
      setNumber(number + 1)
      await publish(channel, { number, sent: performance.timeOrigin + performance.now() }, 'workbench')
      setError(undefined)
    } catch (error) {
      setError(error)
    }
  }
  return (
    <>
      <h1>Workbench</h1>
      <p class="dim">
        One channel over every wire. Publish, and see the event arrive in each pane; cut a pane and resume it.
      </p>
      <form class="row" onSubmit={publishOne}>
        <label class="grow">
          Channel
          <input value={channel} required onChange={event => setChannel(event.currentTarget.value)} />
        </label>
        <label>
          Simulated proxy
          <select value={fault} onChange={event => setFault(event.currentTarget.value as Choice)}>
            {Object.entries(FAULTS).map(([name, title]) => (
              <option key={name} value={name}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <button type="submit">Publish</button>
      </form>
      <Problem error={error} />
      <div class="panes">
        {Object.keys(WIRES).map(wire => (
          <PaneView key={`${wire} ${channel} ${fault}`} wire={wire} channel={channel} fault={fault} />
        ))}
      </div>
      <p class="dim">The page simulates the proxy on its own connections.</p>
    </>
  )
}

function PaneView({ wire, channel, fault }: { wire: string; channel: string; fault: Choice }) {
  const [, draw] = useReducer<number, void>(turn => turn + 1, 0)
  const [on, setOn] = useState(true)
  const drawing = useRef<Pace | undefined>(undefined)
  drawing.current ??= paced(draw)
  const pane = useRef<Pane | undefined>(undefined)
  pane.current ??= new Pane(() => drawing.current?.soon())
  const shown = pane.current

  useEffect(() => {
    if (!on) {
      shown.setState('cut')
      return
    }
    const all = new AbortController()
    void readBy(wire, { channel, fault, pane: shown, signal: all.signal })
    return () => {
      all.abort()
      drawing.current?.stop()
    }
  }, [on])

  return (
    <section class="panel pane" aria-label={wire} data-wire={wire} data-events={shown.events}>
      <h2>
        {wire}
        <span class={shown.state === 'open' ? 'badge good' : 'badge'}>{shown.state}</span>
      </h2>
      <p class="dim">
        {count(shown.events)} {shown.events === 1 ? 'event' : 'events'} · {bytes(shown.received)}
        {shown.gaps > 0 && ` · ${count(shown.gaps)} gaps`}
      </p>
      <ul class="arrivals">
        {shown.arrivals.map(({ key, text, delay }) => (
          <li key={key}>
            <code>{text}</code>
            {delay !== undefined && <b>{ms(delay)}</b>}
          </li>
        ))}
      </ul>
      <button type="button" onClick={() => setOn(!on)}>
        {on ? 'Cut' : 'Resume'}
        <span class="hidden"> {wire}</span>
      </button>
    </section>
  )
}

interface Read {
  readonly channel: string
  readonly fault: Choice
  readonly pane: Pane
  readonly signal: AbortSignal
}

/** Reads, and resumes at its cursor, until the signal is aborted. */
async function readBy(wire: string, { channel, fault, pane, signal }: Read): Promise<void> {
  const read = async () => {
    pane.setState('connecting')
    const cut = new AbortController()
    const end = () => cut.abort()
    signal.addEventListener('abort', end)
    const timer = fault === 'cuts' ? setTimeout(end, CUT_MS) : undefined
    try {
      const proxy = fault === 'cuts' ? 'none' : fault
      await WIRES[wire]?.({ channel, sink: pane, fault: proxy, signal: cut.signal })
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
    }
  }
  const ended = (error: unknown) => {
    pane.setState(error === undefined || isAbort(error) ? 'cut, reconnecting' : wordsOf(error))
    return true
  }
  await reconnect(read, { signal, delay: RECONNECT_MS, ended })
}
