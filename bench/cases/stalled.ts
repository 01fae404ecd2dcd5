// Readers that stop reading beside others that continue: the cost for the server, the others and themselves. The same
// is measured without them, because memory also grows with the events that the node retains.

import { setTimeout as sleep } from 'node:timers/promises'
import { Arena, Meter } from '../arena.ts'
import { atMost, ratio, wrongOf } from '../figures.ts'
import { now } from '../load/marker.ts'
import type { Peer, RunningPeer } from '../peers/peer.ts'
import { residentOf } from '../processes/proc.ts'
import { type Bench, type Case, caveats, delivered, type Result } from './case.ts'

const STALLED = 200
const OTHERS = 300
/** Events per second. A quick run has a higher rate, because the case needs full buffers. */
const RATE = 200
const QUICK_RATE = 600
const SIZE = 1024
/** Seconds of publishing before the readers stop; below, after they resume. */
const BEFORE = 4
const AFTER = 3
/** Maximum seconds until the stalled readers have caught up. */
const CATCH_UP = 20

const WITH = `${STALLED} stop reading`
const CLOSED = `${STALLED} stop reading, FANWIRE_STALL=5s`
const WITHOUT = 'all go on reading'

/** The number of connections with a full socket, as reported by the node. */
async function blocked({ port }: RunningPeer): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`)
  return Number(/^fanwire_readers_behind (\d+)/m.exec(await response.text())?.[1] ?? Number.NaN)
}

function measure(
  peer: Peer,
  bench: Bench,
  label: typeof WITH | typeof CLOSED | typeof WITHOUT,
): Promise<Result> {
  const env = label === CLOSED ? { FANWIRE_STALL: '5s' } : {}
  const rate = bench.quick ? QUICK_RATE : RATE
  return Arena.with(peer, { env, profile: bench.profileOf(label) }, async arena => {
    const { generator, publisher, peer: running } = arena
    const stop = bench.quick ? 8 : 30
    const { wire, path, resume } = running.reading('ws', 'hot')
    const connect = (group: string, count: number) =>
      generator.call('connect', {
        group,
        port: running.port,
        wire,
        paths: [path],
        count,
        after: 0,
        ...(resume === undefined ? {} : { resume }),
        sampleEvery: 4,
      })
    await connect('stalled', STALLED)
    await connect('others', OTHERS)

    const upto = (BEFORE + stop + AFTER) * rate
    const deadline = now() + (BEFORE + stop + AFTER + CATCH_UP) * 1e6
    const publishing = publisher.call('publish', {
      streams: [{ sink: 'main', channels: ['hot'], rate, count: upto, size: SIZE, first: 1 }],
      deadline,
    })
    await sleep(BEFORE * 1000)

    bench.progress(`measuring: ${label} for ${stop} s`)
    for (const group of ['stalled', 'others']) await generator.call('begin', { group })
    const before = residentOf(running.server.pids)
    const meter = new Meter(arena)
    if (label !== WITHOUT) await generator.call('pause', { group: 'stalled', paused: true })
    await sleep(stop * 1000)
    meter.stop()
    const stalledBlocked = await blocked(running)
    const others = await generator.call('report', { group: 'others', upto: 0 })
    const behind = await generator.call('report', { group: 'stalled', upto: (BEFORE + stop) * rate })
    await generator.call('pause', { group: 'stalled', paused: false })
    const readAgain = now()

    const settled = await generator.call('settle', { group: 'stalled', upto, deadline })
    await generator.call('settle', { group: 'others', upto, deadline })
    const published = await publishing
    const stalled = await generator.call('report', { group: 'stalled', upto })
    const rest = await generator.call('report', { group: 'others', upto })
    const publishedAll = published.beganAt + (upto / rate) * 1e6
    return {
      label,
      figures: {
        ...delivered(others, published),
        missing: stalled.missing + stalled.outstanding + rest.missing + rest.outstanding,
        repeated: stalled.repeated + rest.repeated,
        reordered: stalled.reordered + rest.reordered,
        grown: (meter.peak - before) / 2 ** 20,
        peakResident: meter.peak / 2 ** 20,
        generatorCpu: stalled.cpu * 100,
        ...(label !== WITHOUT
          ? {
              stalledBehind: behind.outstanding / STALLED,
              stalledBlocked,
              stalledClosed: stalled.cut,
              // The readers cannot have caught up before the last event is published.
              caughtUpAfter: Math.max(0, stalled.lastAt - Math.max(readAgain, publishedAll)) / 1e6,
            }
          : {}),
      },
      notes: [
        ...caveats(rest, published),
        ...(settled ? [] : [`some did not catch up within ${AFTER + CATCH_UP} s`]),
      ],
    }
  })
}

export const stalled: Case = {
  name: 'stalled',
  title: `${STALLED} of ${STALLED + OTHERS} ws readers stop reading for 30 s on a channel with ${RATE} events/s of 1 KB: latency of the others`,
  peers: ['fanwire'],
  async run(peer, bench) {
    const results: Result[] = []
    for (const label of [WITH, WITHOUT, CLOSED] as const) results.push(await measure(peer, bench, label))
    return results
  },
  bars(find) {
    const own = find('fanwire', WITH)
    const control = find('fanwire', WITHOUT)
    const wrong = wrongOf(own)
    const closed = find('fanwire', CLOSED)
    const wrongClosed = wrongOf(closed)
    const grown =
      own?.grown !== undefined && control?.grown !== undefined ? own.grown - control.grown : undefined
    return [
      atMost('missing, repeated or reordered, the stalled ones included', wrong, { bar: 0 }),
      atMost('the same where they are closed and resume', wrongClosed, { bar: 0 }),
      atMost('memory grown beyond that without stalled readers', grown, { unit: ' MB', bar: 32, goal: 8 }),
      atMost("times the others' p99 without stalled readers", ratio(own?.p99, control?.p99), {
        digits: 2,
        bar: 1.5,
      }),
    ]
  },
}
