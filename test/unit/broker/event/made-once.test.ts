// Each form of an event is made once, and the memory of all forms is bounded.

import t from 'tap'
import type { LogEvent } from '../../../../services/broker/event/event.ts'
import { madeOnce } from '../../../../services/broker/event/made-once.ts'
import {
  jsonInMessages,
  jsonInSse,
  pushesInMessages,
} from '../../../../services/wires/centrifuge/dialects.ts'
import { eventOf } from '../../../support/events.ts'

const KB = 1024

const sized = (offset: number, size: number) => eventOf({ offset }, `"${'x'.repeat(size)}"`)

t.test('a form is made once per event, and the cache is bounded', async t => {
  const made: number[] = []
  const of = madeOnce(10 * KB, ({ offset }) => {
    made.push(offset)
    return { offset }
  })
  const events = [1, 2, 3, 4].map(offset => sized(offset, 3 * KB))
  for (const event of events.slice(0, 3)) of(event)
  t.equal(of(events[0] as LogEvent), of(events[0] as LogEvent))
  t.strictSame(made, [1, 2, 3])
  of(events[3] as LogEvent)
  of(events[3] as LogEvent)
  of(events[0] as LogEvent)
  t.strictSame(made, [1, 2, 3, 4, 1], 'the fourth dropped the others')
})

t.test('Centrifuge: an event is encoded once for all transports, and the encodings are bounded', async t => {
  const event = sized(1, 10)
  const stretch = ({ framing }: typeof jsonInMessages) => framing.stretch([event], 0, 1).toString()
  const first = stretch(jsonInMessages)
  event.json.fill('y', event.dataStart + 1, event.json.length - 2)
  t.equal(stretch(jsonInMessages), first)
  t.match(stretch(jsonInSse.plain), 'xxxxxxxxxx', 'the same encoding in another transport')
  t.match(stretch(pushesInMessages), 'yyyyyyyyyy', 'another encoding')
  const many = Array.from({ length: 50 }, (_, i) => sized(i, 100 * KB))
  jsonInMessages.framing.stretch(many, 0, many.length)
  t.match(stretch(jsonInMessages), 'yyyyyyyyyy', 'dropped after 4 MiB of other events')
})
