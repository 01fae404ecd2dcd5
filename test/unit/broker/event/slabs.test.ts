// Retained events do not hold other memory.

import t from 'tap'
import { endAt, type LogEvent, transientOf } from '../../../../services/broker/event/event.ts'
import { allocateRetained, concatRetained } from '../../../../services/broker/event/slabs.ts'
import { eventOf } from '../../../support/events.ts'

const KIB = 1024

function memoryOf(buffers: readonly Buffer[]): number {
  return [...new Set(buffers.map(({ buffer }) => buffer))].reduce(
    (sum, { byteLength }) => sum + byteLength,
    0,
  )
}

t.test('few events among much that is short-lived hold little more than their own bytes', async t => {
  const events: LogEvent[] = []
  for (let i = 1; i <= 1000; i++) {
    events.push(eventOf({ offset: i }, `"${i}"`))
    // What a node does between two events: each of these takes a part of Node's pool.
    for (let j = 0; j < 50; j++) transientOf('c', 1, { data: Buffer.from(`"${'x'.repeat(100)}"`) })
  }
  const json = events.map(event => event.json)
  const bytes = json.reduce((sum, { length }) => sum + length, 0)
  t.ok(memoryOf(json) <= 1.1 * bytes + 16 * KIB, `${memoryOf(json)} bytes for ${bytes}`)
})

t.test('so do the ends of channels', async t => {
  const ends = Array.from({ length: 200 }, (_, offset) => {
    for (let i = 0; i < 50; i++) Buffer.from('x'.repeat(100))
    return endAt('c', { epoch: 'e1', offset }).json
  })
  t.equal(ends[7]?.toString(), '{"end":{"channel":"c","id":"e1-7"}}')
  t.ok(memoryOf(ends) <= 3 * 8 * KIB, `${memoryOf(ends)} bytes`)
})

t.test('a large event has memory of its own', async t => {
  const { json } = eventOf({ offset: 1 }, `"${'x'.repeat(5 * KIB)}"`)
  t.equal(json.buffer.byteLength, json.length)
})

t.test('events never overlap', async t => {
  const sizes = Array.from({ length: 3000 }, (_, i) => (i * 7919) % 4200)
  const buffers = sizes.map((size, i) => allocateRetained(size).fill(i % 251))
  t.ok(
    buffers.every((buffer, i) => buffer.length === sizes[i] && buffer.every(byte => byte === i % 251)),
    'each holds its own bytes',
  )
})

t.test('a form of an event is a copy that does not hold its parts', async t => {
  const parts = [Buffer.from('one'), Buffer.alloc(0), new Uint8Array([0x2c]), Buffer.from('two')]
  const forms = Array.from({ length: 200 }, () => {
    for (let i = 0; i < 50; i++) Buffer.from('x'.repeat(100))
    return concatRetained(parts)
  })
  t.equal(forms.at(-1)?.toString(), 'one,two')
  t.ok(memoryOf(forms) <= 3 * 8 * KIB, `${memoryOf(forms)} bytes`)
})
