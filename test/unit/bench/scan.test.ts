// The load generator reports losses truthfully: its scanner finds what a plain parser of the same bytes finds, wherever
// the stream is cut, and whichever events are missing, duplicated or late.

import fc from 'fast-check'
import t from 'tap'
import { Histogram } from '../../../bench/load/histogram.ts'
import { payload } from '../../../bench/load/marker.ts'
import { type Counts, Scanner } from '../../../bench/load/scan.ts'

type Tally = Omit<Counts, 'bytes'> & { last: number }

/** Computes the tally of sequence numbers naively, by the definitions in scan.ts. */
function expected(sequences: readonly number[], last: number): Tally {
  const tally: Tally = { received: 0, missing: 0, repeated: 0, reordered: 0, last }
  const seen = new Set<number>()
  for (const sequence of sequences) {
    tally.received++
    if (tally.last === -1) tally.last = sequence
    else if (sequence > tally.last) tally.last = sequence
    else if (seen.has(sequence) || sequence <= last) tally.repeated++
    else if (last === -1 && sequence < (sequences[0] ?? 0)) tally.repeated++
    else tally.reordered++
    seen.add(sequence)
  }
  const first = last === -1 ? (sequences[0] ?? 0) : last + 1
  for (let sequence = first; sequence <= tally.last; sequence++) if (!seen.has(sequence)) tally.missing++
  return tally
}

/** Consecutive numbers with faults: some are dropped, some repeated, some moved. */
const faulty = fc
  .tuple(
    fc.integer({ min: 1, max: 99_000_000 }),
    fc.array(fc.constantFrom('ok', 'ok', 'ok', 'ok', 'drop', 'repeat', 'swap', 'late'), { maxLength: 80 }),
  )
  .map(([first, faults]) => {
    const sequences: number[] = []
    for (const [i, fault] of faults.entries()) {
      const sequence = first + i
      if (fault === 'drop') continue
      if (fault === 'swap') sequences.splice(Math.max(0, sequences.length - 1), 0, sequence)
      else if (fault === 'late') sequences.splice(Math.max(0, sequences.length - 7), 0, sequence)
      else sequences.push(sequence)
      if (fault === 'repeat') sequences.push(sequence)
    }
    return { first, sequences }
  })

/** Bytes that a wire may write before the data; they may contain half a marker. */
const heads = fc.array(fc.constantFrom('', '\x81\x7e', 'id: m-1\ndata: ', '{"x":"@S@","data":', '@', '@S0'), {
  minLength: 1,
  maxLength: 7,
})
const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 20 })

function feed(scanner: Scanner, bytes: Buffer, sizes: readonly number[]): void {
  // Like the generator, uses one buffer for all reads, in which old bytes follow the new ones.
  const buffer = Buffer.alloc(512, '@S00000001T0000000000000001@')
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = bytes.copy(buffer, 0, at, at + (sizes[i % sizes.length] ?? 1))
    scanner.scan(buffer, length, 5_000_000)
    at += length
  }
}

t.test('the scanner finds what a plain parser finds', async t => {
  fc.assert(
    fc.property(faulty, heads, cuts, fc.boolean(), ({ first, sequences }, heads, sizes, known) => {
      const frames = sequences.map((sequence, i) => heads[i % heads.length] + payload(sequence, 1234, 64))
      const bytes = Buffer.from(frames.join(''), 'latin1')
      const scanner = new Scanner(new Histogram())
      if (known) scanner.last = first - 1
      feed(scanner, bytes, sizes)
      const { received, missing, repeated, reordered, last } = scanner
      const counted = { received, missing, repeated, reordered, last }
      t.strictSame(counted, expected(sequences, known ? first - 1 : -1))
      t.equal(scanner.bytes, bytes.length)
    }),
    { numRuns: 3000 },
  )
})

t.test('the scanner finds what a plain parser finds, byte by byte', async t => {
  fc.assert(
    fc.property(faulty, heads, ({ first, sequences }, heads) => {
      const frames = sequences.map((sequence, i) => heads[i % heads.length] + payload(sequence, 1234, 64))
      const scanner = new Scanner(new Histogram())
      scanner.last = first - 1
      feed(scanner, Buffer.from(frames.join(''), 'latin1'), [1])
      const { received, missing, repeated, reordered, last } = scanner
      t.strictSame({ received, missing, repeated, reordered, last }, expected(sequences, first - 1))
    }),
    { numRuns: 200 },
  )
})

t.test('the scanner measures the latency of sampled events', async t => {
  const latency = new Histogram()
  const scanner = new Scanner(latency, 4)
  const bytes = Buffer.from(Array.from({ length: 16 }, (_, i) => payload(i + 1, 4_000_000 - i, 64)).join(''))
  feed(scanner, bytes, [100])
  t.equal(latency.count, 4)
  t.equal(latency.max, 1_000_015)
})

t.test('clear resets the counts and keeps the position', async t => {
  const scanner = new Scanner(new Histogram())
  feed(scanner, Buffer.from(payload(1, 1, 64) + payload(3, 1, 64)), [50])
  t.match(scanner, { received: 2, missing: 1, last: 3 })
  scanner.clear()
  feed(scanner, Buffer.from(payload(4, 1, 64)), [50])
  t.match(scanner, { received: 1, missing: 0, last: 4 })
})

t.test('the histogram is accurate to 1.6 % at any value', async t => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), value => {
      const histogram = new Histogram()
      histogram.add(value)
      histogram.add(2 ** 31 - 1)
      const found = histogram.quantile(0.5)
      t.ok(found >= value && found <= value * 1.016 + 1, `${value} as ${found}`)
    }),
  )
  const ramp = new Histogram()
  for (let i = 1; i <= 1000; i++) ramp.add(i * 1000)
  t.ok(Math.abs(ramp.quantile(0.99) / 990_000 - 1) < 0.016)
  t.equal(ramp.quantile(1), 1_000_000)
  ramp.clear()
  t.equal(ramp.quantile(0.5), 0)
})
