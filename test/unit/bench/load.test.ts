// The load generator reports the truth: against a server with known losses, duplicates and delays, the report of every
// wire counts exactly these.

import fc from 'fast-check'
import t from 'tap'
import { Needle } from '../../../bench/load/attention.ts'
import { Dechunker } from '../../../bench/load/dechunk.ts'
import { Histogram } from '../../../bench/load/histogram.ts'
import { WIRES } from '../../../bench/load/order.ts'
import { against } from '../../../bench/self-check.ts'

const EVENTS = 200
const CLIENTS = 8

for (const wire of WIRES) {
  t.test(`${wire}: counts lost events and measures latency`, async t => {
    const { tally, written } = await against(wire, {
      faults: { lose: true, delay: 50 },
      events: EVENTS,
      rate: 400,
      clients: CLIENTS,
      processes: 2,
    })
    const lost = (EVENTS / 100) * CLIENTS
    t.match(tally, {
      clients: CLIENTS,
      open: CLIENTS,
      received: EVENTS * CLIENTS - lost,
      missing: lost,
      repeated: 0,
      reordered: 0,
      gaps: 0,
      errors: {},
    })
    const seen = new Histogram()
    seen.addAll(tally.latency)
    t.equal(seen.count, tally.received, 'every event has a latency')
    t.equal(written.count, tally.received, 'the server wrote no other event')
    t.ok((tally.latency[0]?.[0] ?? 0) >= 50_000, 'no event is earlier than its scheduled time')
    for (const quantile of [0.01, 0.5, 0.95, 1]) {
      t.ok(
        seen.quantile(quantile) >= written.quantile(quantile),
        `no event is earlier than its write: ${quantile}`,
      )
    }
    const asks = tally.answering.reduce((sum, [, count]) => sum + count, 0)
    t.equal(asks, tally.requests)
    t.equal(tally.requests > 0, ['poll', 'long-poll', 'refresh'].includes(wire))
    t.ok(tally.bytesIn > tally.received * 64)
  })

  t.test(`${wire}: counts duplicates and late events`, async t => {
    const { tally } = await against(wire, {
      faults: { repeat: true, reorder: true, delay: 0 },
      events: EVENTS,
      rate: 1000,
      clients: CLIENTS,
      processes: 1,
    })
    const few = (EVENTS / 100) * CLIENTS
    t.match(tally, { received: EVENTS * CLIENTS + few, missing: 0, repeated: few, reordered: few })
  })
}

t.test('chunks are parsed wherever the bytes are cut', async t => {
  const size = (length: number) =>
    length % 2 === 0 ? length.toString(16) : length.toString(16).toUpperCase().padStart(4, '0')
  const pieces = fc.array(fc.string({ minLength: 1, maxLength: 40 }), { maxLength: 12 })
  const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 10 })
  const extension = fc.constantFrom('', ';a=b', ';ext="0d0a"')
  const trailers = fc.constantFrom('', 'X-End: 1\r\n')
  fc.assert(
    fc.property(pieces, cuts, extension, trailers, (pieces, cuts, extension, trailers) => {
      const data = pieces.map(each => Buffer.from(each))
      const framed = data.flatMap(each => [
        Buffer.from(`${size(each.length)}${extension}\r\n`),
        each,
        Buffer.from('\r\n'),
      ])
      const bytes = Buffer.concat([...framed, Buffer.from(`0\r\n${trailers}\r\n`), Buffer.from('behind it')])
      const dechunker = new Dechunker()
      const found: Buffer[] = []
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const part = bytes.subarray(at, at + (cuts[i % cuts.length] ?? 1))
        found.push(...dechunker.take(part))
        at += part.length
      }
      t.equal(Buffer.concat(found).toString(), Buffer.concat(data).toString())
      t.equal(dechunker.ended, true)
    }),
    { numRuns: 2000 },
  )
})

t.test('a needle is found once, wherever the bytes are cut', async t => {
  const parts = fc.array(fc.constantFrom('{"gap":{', '{"gap":', '{', 'x', '"gap":{"a"}'), { maxLength: 20 })
  const cuts = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 10 })
  fc.assert(
    fc.property(parts, cuts, (parts, cuts) => {
      const text = parts.join('')
      const needle = new Needle('{"gap":{')
      let found = 0
      for (let at = 0, i = 0; at < text.length; i++) {
        const part = text.slice(at, at + (cuts[i % cuts.length] ?? 1))
        found += needle.count(Buffer.from(part))
        at += part.length
      }
      // Overlapping matches, which share a brace, count too.
      t.equal(found, [...text.matchAll(/(?=\{"gap":\{)/g)].length)
    }),
    { numRuns: 2000 },
  )
})

t.test('a histogram can be sent to another process', async t => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { minLength: 1 }), values => {
      const here = new Histogram()
      for (const value of values) here.add(value)
      const there = new Histogram()
      there.addAll(here.entries())
      t.equal(there.count, values.length)
      t.equal(there.max, Math.max(...values))
      for (const quantile of [0.01, 0.5, 0.99, 1]) t.equal(there.quantile(quantile), here.quantile(quantile))
    }),
  )
})
