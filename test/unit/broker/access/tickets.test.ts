// Tickets: good once, for a while, and not to be read from the store.

import t from 'tap'
import {
  createMemoryTickets,
  makeTicket,
  TICKET_LIFE_MS,
  ticketKey,
} from '../../../../services/broker/access/tickets.ts'

t.test('a ticket is 256 random bits, and the store has only its digest', async t => {
  const ticket = makeTicket()
  t.match(ticket, /^[A-Za-z0-9_-]{43}$/)
  t.not(makeTicket(), ticket)
  t.match(ticketKey(ticket), /^[A-Za-z0-9_-]{43}$/)
  t.not(ticketKey(ticket), ticket)
  for (const other of ['', 'x', `${ticket}A`, '../'.repeat(14) + 'x', `${ticket.slice(1)}\n`]) {
    t.equal(ticketKey(other), undefined, 'what is no ticket has no key')
  }
})

t.test('taken once', async t => {
  const store = createMemoryTickets({ clock: () => 1000 })
  const record = { claims: { sub: 'ann' }, expires: 1000 + TICKET_LIFE_MS }
  await store.put('a', record)
  t.strictSame(await Promise.all([store.take('a'), store.take('a'), store.take('b')]), [
    record,
    undefined,
    undefined,
  ])
})

t.test('not after its time', async t => {
  let now = 0
  const store = createMemoryTickets({ clock: () => now })
  for (const key of ['a', 'b']) await store.put(key, { claims: {}, expires: TICKET_LIFE_MS })
  now = TICKET_LIFE_MS - 1
  t.ok(await store.take('a'))
  now = TICKET_LIFE_MS
  t.equal(await store.take('b'), undefined)
})

t.test('a full store drops the oldest', async t => {
  const store = createMemoryTickets({ most: 2, clock: () => 0 })
  for (const key of ['a', 'b', 'c']) await store.put(key, { claims: { sub: key }, expires: 1 })
  t.strictSame(
    [await store.take('a'), (await store.take('b'))?.claims.sub, (await store.take('c'))?.claims.sub],
    [undefined, 'b', 'c'],
  )
})
