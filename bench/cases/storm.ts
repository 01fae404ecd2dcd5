// A node is killed, and all its readers reconnect to another one at once, with older cursors. The other node has not
// followed the channel before, so it must read missed events from the log.

import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from '../arena.ts'
import { atMost, wrongOf } from '../figures.ts'
import { now } from '../load/marker.ts'
import type { Peer, RunningPeer, WireName } from '../peers/peer.ts'
import { type Bench, type Case, caveats, delivered, type Result } from './case.ts'

const READERS = 5000
/** Events per second before and after the node is killed; some arrive while readers are still catching up. */
const EARLIER_RATE = 50
const RATE = 5
const SIZE = 64
/** Events before the node is killed. */
const EARLIER = 200
/** The cursors are this many events behind, and up to nine more, so that there are ten different cursors. */
const BACK = 50
const SPREAD = 10
/** Seconds of publishing from the moment of the reconnect. */
const GOES_ON = 3
/** Maximum seconds of each step. */
const WITHIN = 30

async function logReads({ port }: RunningPeer): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`)
  return Number(/^fanwire_log_reads_total (\d+)/m.exec(await response.text())?.[1] ?? Number.NaN)
}

function measure(peer: Peer, bench: Bench, wire: WireName): Promise<Result> {
  return Arena.with(peer, { profile: bench.profileOf(wire) }, async arena => {
    const { generator, publisher, peer: first } = arena
    const count = bench.quick ? 1000 : READERS
    const second = await arena.another()
    await publisher.call('open', { name: 'second', sink: second.sink })
    const reading = first.reading(wire, 'hot')
    await generator.call('connect', {
      group: 'readers',
      port: first.port,
      wire: reading.wire,
      paths: [reading.path],
      count,
      after: 0,
      resume: reading.resume ?? '',
      sampleEvery: 16,
    })
    const stream = { sink: 'second', channels: ['hot'], size: SIZE }
    const until = (seconds: number) => now() + seconds * 1e6
    await publisher.call('publish', {
      streams: [{ ...stream, rate: EARLIER_RATE, count: EARLIER, first: 1 }],
      deadline: until(WITHIN),
    })
    await generator.call('settle', { group: 'readers', upto: EARLIER, deadline: until(WITHIN) })
    await sleep(500)

    bench.progress(`reconnecting over ${wire}`)
    const readsBefore = await logReads(second)
    await generator.call('begin', { group: 'readers' })
    const upto = EARLIER + GOES_ON * RATE
    const publishing = publisher.call('publish', {
      streams: [{ ...stream, rate: RATE, count: GOES_ON * RATE, first: EARLIER + 1 }],
      deadline: until(WITHIN),
    })
    const began = now()
    const back = generator.call('reconnect', {
      group: 'readers',
      port: second.port,
      back: BACK,
      spread: SPREAD,
    })
    // Readers have caught up when they have received all events that were stored before the reconnect.
    const missedAt = generator.call('settle', { group: 'readers', upto: EARLIER, deadline: until(WITHIN) })
    const caughtUp = await missedAt
    const caughtUpAfter = (now() - began) / 1e6
    const connected = await back
    await generator.call('settle', { group: 'readers', upto, deadline: until(WITHIN) })
    const published = await publishing
    const report = await generator.call('report', { group: 'readers', upto })
    const reads = (await logReads(second)) - readsBefore
    const { missing, repeated, reordered, bytesPerDelivery, generatorCpu, publisherLate } = delivered(
      report,
      published,
    )
    const expected = count * (BACK + GOES_ON * RATE) + sumOfSpread(count)
    return {
      label: wire,
      figures: {
        missing: (missing ?? 0) + report.outstanding,
        repeated: repeated ?? 0,
        reordered: reordered ?? 0,
        delivered: (100 * report.received) / expected,
        caughtUpAfter,
        logReads: reads,
        distinctCursors: SPREAD,
        bytesPerDelivery: bytesPerDelivery ?? 0,
        generatorCpu: generatorCpu ?? 0,
        publisherLate: publisherLate ?? 0,
      },
      notes: [
        ...caveats(report, published),
        ...(connected.failed > 0 ? [`${connected.failed} could not reconnect: ${connected.reason}`] : []),
        ...(caughtUp ? [] : [`not all had caught up after ${WITHIN} s`]),
      ],
    }
  })
}

function sumOfSpread(count: number): number {
  let sum = 0
  for (let i = 0; i < count; i++) sum += i % SPREAD
  return sum
}

export const storm: Case = {
  name: 'storm',
  title: `5,000 readers reconnect at once to a node that does not know the channel, with cursors ${BACK} to ${BACK + SPREAD - 1} events back, while publishing goes on`,
  peers: ['fanwire'],
  async run(peer, bench) {
    return [await measure(peer, bench, 'ws'), await measure(peer, bench, 'sse')]
  },
  bars(find) {
    return (['ws', 'sse'] as const).flatMap(wire => {
      const row = find('fanwire', wire)
      const wrong = wrongOf(row)
      return [
        atMost(`${wire}: missing, repeated or reordered`, wrong, { bar: 0 }),
        atMost(`${wire}: all caught up`, row?.caughtUpAfter, { unit: ' s', digits: 2, bar: WITHIN, goal: 3 }),
        atMost(`${wire}: reads from the log`, row?.logReads, { bar: SPREAD }),
      ]
    })
  },
}
