// Readers follow channels while events are published at an even pace: measures deliveries, latency and cost.

import { Arena, type ArenaOptions, Meter } from '../arena.ts'
import { now } from '../load/marker.ts'
import type { SinkOrder } from '../load/sinks.ts'
import type { Peer, Reading, RunningPeer, WireName } from '../peers/peer.ts'
import { residentOf } from '../processes/proc.ts'
import { type Bench, caveats, delivered, type Result } from './case.ts'

export interface Broadcast {
  /** The row's label, if a peer has several rows. */
  readonly label?: string
  readonly wire: WireName
  /** How a reader follows a channel; default: the peer's own way over `wire`. */
  readonly reading?: (channel: string) => Reading
  readonly readers: number
  /** Readers are spread evenly over the channels. */
  readonly channels: number
  /** Events per second over all channels, which take turns. */
  readonly rate: number
  readonly seconds: number
  /** Latency is sampled for one event in this many: a power of two. */
  readonly sampleEvery: number
  readonly arena: Omit<ArenaOptions, 'profile'>
  /** Each event is a separate request. */
  readonly byPost?: boolean
}

/** Seconds after the last publish until the measurement ends. */
const GRACE = 2
const SIZE = 64
/** The warm-up: events to a single channel, or to each of several; deliveries per second; maximum seconds. */
const WARM_EVENTS = 100
const WARM_EVENTS_EACH = 15
const WARM_DELIVERIES = 40_000
const WARM_WITHIN = 20

export const events = (rate: number) => `${rate.toLocaleString('en')} events/s`

export const channelNames = (count: number) =>
  Array.from({ length: count }, (_, i) => `bench${String(i).padStart(4, '0')}`)

/** Opens `count` connections, each reading one of several idle channels. */
export const connectAll = (arena: Arena, wire: WireName, channels: number, group: string, count: number) =>
  arena.generator.call('connect', {
    tokens: arena.peer.tokensOf?.(count) ?? [],
    group,
    port: arena.peer.port,
    wire: arena.peer.reading(wire, '').wire,
    paths: channelNames(channels).map(channel => arena.peer.reading(wire, channel).path),
    count,
    sampleEvery: 1,
  })

export function broadcast(peer: Peer, bench: Bench, order: Broadcast): Promise<Result> {
  const profile = bench.profileOf(labelOf(order))
  return Arena.with(peer, { ...order.arena, profile }, arena => run(arena, peer, bench, order))
}

const labelOf = ({ label, wire }: Broadcast) => label ?? wire

function postSinkOf({ publishing, port }: RunningPeer): SinkOrder {
  const by = publishing?.POST
  if (by === undefined || 'message' in by) throw new Error('the peer takes no POST')
  return { kind: 'post', port, by }
}

async function run(arena: Arena, peer: Peer, bench: Bench, order: Broadcast): Promise<Result> {
  const { generator, publisher } = arena
  const sink = order.byPost === true ? 'post' : 'main'
  if (sink === 'post') await publisher.call('open', { name: sink, sink: postSinkOf(arena.peer) })
  const channels = channelNames(order.channels)
  const label = labelOf(order)
  const { reading = (channel: string) => arena.peer.reading(order.wire, channel) } = order
  const before = residentOf(arena.peer.server.pids)
  const connected = await generator.call('connect', {
    group: 'readers',
    port: arena.peer.port,
    wire: reading('').wire,
    paths: channels.map(channel => reading(channel).path),
    count: order.readers,
    tokens: arena.peer.tokensOf?.(order.readers) ?? [],
    ...(peer.cursors ? { after: 0 } : {}),
    sampleEvery: order.sampleEvery,
  })
  if (connected.failed > 0) {
    return {
      label,
      figures: {},
      notes: [`${connected.failed} readers failed: ${connected.reason}`],
    }
  }

  const warm = order.channels === 1 ? WARM_EVENTS : WARM_EVENTS_EACH
  const fanOut = order.readers / order.channels
  await publisher.call('publish', {
    streams: [
      {
        sink,
        channels,
        rate: Math.min(order.rate, WARM_DELIVERIES / fanOut),
        size: SIZE,
        count: warm * order.channels,
        first: 1,
      },
    ],
    deadline: now() + WARM_WITHIN * 1e6,
  })
  const isWarm = await generator.call('settle', {
    group: 'readers',
    upto: warm,
    deadline: now() + WARM_WITHIN * 1e6,
  })
  if (!isWarm) return { label, figures: {}, notes: ['the warm-up did not arrive'] }

  bench.progress('measuring')
  await generator.call('begin', { group: 'readers' })
  const count = Math.round((order.rate * order.seconds) / order.channels) * order.channels
  const upto = warm + count / order.channels
  const deadline = now() + (order.seconds + GRACE) * 1e6
  let overfull = false
  const meter = new Meter(arena, () => {
    overfull = true
    void arena.peer.server.kill()
  })
  const publishing = publisher.call('publish', {
    streams: [{ sink, channels, rate: order.rate, size: SIZE, count, first: warm + 1 }],
    deadline,
  })
  const complete = await generator.call('settle', { group: 'readers', upto, deadline })
  const { cpu, kernel, redisCpu } = meter.read()
  const report = await generator.call('report', { group: 'readers', upto })
  const published = await publishing
  meter.stop()

  const seconds = ((complete ? report.lastAt : deadline) - published.beganAt) / 1e6
  const expected = (count / order.channels) * order.readers
  const notes = caveats(report, published)
  if (overfull) notes.push('delivered until killed, at its memory limit of 2 GB')
  else if (!complete) notes.push(`delivered until cut, ${GRACE} s after the last publish`)
  return {
    label,
    figures: {
      ...delivered(report, published),
      deliveriesPerSecond: report.received / seconds,
      delivered: (100 * report.received) / expected,
      // Events that had not arrived at the cut are not lost, only late.
      missing: complete || overfull ? report.missing + (overfull ? 0 : report.outstanding) : report.missing,
      ...(overfull
        ? {}
        : {
            cpuPerDelivery: cpu / Math.max(1, report.received),
            cpuPerEvent: cpu / published.sent,
            allCpuPerEvent: (cpu + redisCpu) / published.sent,
            kernelCpu: (100 * kernel) / cpu,
          }),
      redisCpuPerEvent: redisCpu / published.sent,
      residentPerConnection: (meter.peak - before) / 1024 / order.readers,
      peakResident: meter.peak / 2 ** 20,
    },
    notes,
  }
}
