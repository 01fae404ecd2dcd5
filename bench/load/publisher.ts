// The publisher: a process that publishes at an even pace under all conditions. An event's timestamp is its scheduled
// time, so that a server cannot hide that it delays the publisher (coordinated omission).

import { now, payload } from './marker.ts'
import { serve } from './remote.ts'
import { openSink, type Sink, type SinkOrder } from './sinks.ts'

export interface StreamOrder {
  readonly sink: string
  /** The channels take turns. */
  readonly channels: readonly string[]
  /** Events per second over all channels. */
  readonly rate: number
  /** Bytes of data. */
  readonly size: number
  /** Events over all channels. */
  readonly count: number
  /** Sequence number of each channel's first event. */
  readonly first: number
}

export interface Published {
  /** Scheduled time of the first event, µs. */
  readonly beganAt: number
  readonly sent: number
  readonly acknowledged: number
  readonly failed: number
  /** The last error of one of the sinks, if there was any. */
  readonly trouble?: string
  /** The longest delay of an event behind its scheduled time, ms: the publisher's own delay. */
  readonly late: number
  /** Share of one core. */
  readonly cpu: number
}

/** µs until the first event: time to notify the generator. */
const LEAD = 50_000

const sinks = new Map<string, Sink>()
/** Number of events sent in the current order. */
let sentSoFar = 0
let isStopped = false

/**
 * Publishes all streams concurrently. Returns when all events (after `stop`, the events sent so far) are acknowledged,
 * or at `deadline`, µs.
 */
async function publish(order: { streams: readonly StreamOrder[]; deadline: number }): Promise<Published> {
  const cpu = process.cpuUsage()
  const beganAt = now() + LEAD
  const before = sum('acknowledged')
  const failed = sum('failed')
  const sent = order.streams.map(() => 0)
  const total = order.streams.reduce((total, { count }) => total + count, 0)
  let late = 0
  sentSoFar = 0
  isStopped = false
  await new Promise<void>(resolve => {
    const tick = () => {
      const at = now()
      if (at >= order.deadline) return resolve()
      for (const [i, stream] of order.streams.entries()) {
        const byNow = Math.floor(((at - beganAt) * stream.rate) / 1e6) + 1
        const due = isStopped ? 0 : Math.min(stream.count, byNow)
        const sink = sinks.get(stream.sink)
        if (sink === undefined) throw new Error(`no sink ${stream.sink}`)
        for (let k = sent[i] ?? 0; k < due; k++) {
          const time = beganAt + (k * 1e6) / stream.rate
          late = Math.max(late, at - time)
          const channel = stream.channels[k % stream.channels.length] ?? ''
          const sequence = stream.first + Math.floor(k / stream.channels.length)
          sink.publish(channel, payload(sequence, time, stream.size))
        }
        sent[i] = Math.max(sent[i] ?? 0, due)
        sink.flush()
      }
      sentSoFar = sent.reduce((a, b) => a + b, 0)
      const wanted = isStopped ? sentSoFar : total
      if (sum('acknowledged') + sum('failed') - before - failed >= wanted) return resolve()
      setTimeout(tick, 1)
    }
    tick()
  })
  const { user, system } = process.cpuUsage(cpu)
  const trouble = [...sinks.values()].findLast(sink => sink.trouble !== undefined)?.trouble
  return {
    beganAt,
    sent: sentSoFar,
    acknowledged: sum('acknowledged') - before,
    failed: sum('failed') - failed,
    ...(trouble === undefined ? {} : { trouble }),
    late: late / 1000,
    cpu: (user + system) / (now() - beganAt),
  }
}

function sum(what: 'acknowledged' | 'failed'): number {
  let total = 0
  for (const sink of sinks.values()) total += sink[what]
  return total
}

export const publisherMethods = {
  async open({ name, sink }: { name: string; sink: SinkOrder }): Promise<void> {
    sinks.set(name, await openSink(sink))
  },
  publish,
  /** Events sent in the current order. */
  sent: (): number => sentSoFar,
  stop(): void {
    isStopped = true
  },
  close({ name }: { name: string }): void {
    sinks.get(name)?.close()
    sinks.delete(name)
  },
}

export type PublisherMethods = typeof publisherMethods

serve(publisherMethods)
