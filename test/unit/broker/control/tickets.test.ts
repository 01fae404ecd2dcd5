import t from 'tap'
import { ticketsOf } from '../../../../services/broker/control/channels.ts'
import { LogTickets } from '../../../../services/broker/control/tickets.ts'
import { sharedLog } from './shared-log.ts'

/** Idempotency window, ms. */
const WINDOW = 60_000

function world({ idempotencyWindow = WINDOW } = {}) {
  const clock = { now: Date.now() }
  const { log, view } = sharedLog(() => clock.now)
  const node = () => new LogTickets<{ sub: string }>({ log: view(), idempotencyWindow })
  return { clock, log, node }
}

t.test('a ticket is valid once, on any node', async t => {
  const { node } = world()
  const [a, b] = [node(), node()]
  const { ticket } = await a.issue({ sub: 'ada' })
  t.match(ticket, /^[\w.-]+$/, 'a ticket needs no escapes in a URL')
  t.strictSame(await b.take(ticket), { record: { sub: 'ada' } })
  t.strictSame(await a.take(ticket), { refused: 'used' })
  t.strictSame(await b.take(ticket), { refused: 'used' })
})

t.test(
  'a ticket lives 30 s or as long as its issuer asks, but no longer than its token or the idempotency window',
  async t => {
    const cases = [
      { life: 30_000 },
      { life: 2000, idempotencyWindow: 2000 },
      { life: 5000, tokenLife: 5000 },
      { life: 40_000, asked: 40_000 },
      { life: WINDOW, asked: 2 * WINDOW },
      { life: 5000, asked: 40_000, tokenLife: 5000 },
      { life: 0, tokenLife: -1 },
    ]
    for (const { life, idempotencyWindow = WINDOW, tokenLife = Infinity, asked } of cases) {
      const { clock, node } = world({ idempotencyWindow })
      const tickets = node()
      const { ticket, expires } = await tickets.issue(
        { sub: 'ada' },
        { until: Date.now() + tokenLife, life: asked },
      )
      const another = await tickets.issue({ sub: 'ada' }, { until: Date.now() + tokenLife, life: asked })
      const began = clock.now
      t.ok(expires <= began + life && expires > began + life - 1000, `${expires - began} ms`)
      clock.now = another.expires - 1
      if (life > 0) t.strictSame(await tickets.take(another.ticket), { record: { sub: 'ada' } })
      clock.now = expires
      t.strictSame(await tickets.take(ticket), { refused: 'expired' })
    }
  },
)

t.test('an invalid ticket is rejected', async t => {
  const { node, clock, log } = world()
  const tickets = node()
  const { ticket } = await tickets.issue({ sub: 'ada' })
  const [shard = '', at = '', secret = ''] = ticket.split('.')
  const [epoch, offset] = at.split('-')
  const other = secret.startsWith('A') ? `B${secret.slice(1)}` : `A${secret.slice(1)}`
  for (const malformed of [
    '',
    'x',
    secret,
    `${ticket}x`,
    ` ${ticket}`,
    `${ticket}\n`,
    `g.${at}.${secret}`,
    `10.${at}.${secret}`,
    `${shard}.${epoch}-0.${secret}`,
    `${shard}.${epoch}-9999999999999999.${secret}`,
    `${shard}.${epoch}--1.${secret}`,
    ticket.toUpperCase(),
    'a'.repeat(100_000),
  ]) {
    if (malformed === ticket) continue
    t.strictSame(await tickets.take(malformed), { refused: 'malformed' }, malformed.slice(0, 80))
  }
  for (const unknown of [
    `${shard}.${at}.${other}`,
    `${shard === '0' ? 1 : 0}.${at}.${secret}`,
    `${shard}.${epoch}-${Number(offset) + 1}.${secret}`,
    `${shard}.x-1.${secret}`,
  ]) {
    t.strictSame(await tickets.take(unknown), { refused: 'unknown' }, unknown)
  }
  const channel = ticketsOf(Number.parseInt(shard, 16))
  t.equal((await log.state(channel)).count, 1, 'a refusal writes nothing to the log')

  t.strictSame(await tickets.take(ticket), { record: { sub: 'ada' } })
  t.strictSame(await tickets.take(`${shard}.${epoch}-${Number(offset) + 1}.${secret}`), {
    refused: 'unknown',
  })
  clock.now += 61_000
  t.strictSame(await tickets.take(ticket), { refused: 'unknown' }, 'trimmed')
})

t.test('the log contains no ticket that could be used', async t => {
  const { node, log } = world()
  const { ticket } = await node().issue({ sub: 'ada' })
  const [shard = '', , secret = ''] = ticket.split('.')
  await node().take(ticket)
  const { events } = await log.read(ticketsOf(Number.parseInt(shard, 16)), 'earliest', {
    events: 10,
    bytes: 1e6,
  })
  t.equal(events.length, 2)
  for (const { json } of events) t.notOk(json.includes(secret))
})

t.test('one of many concurrent uses of a ticket gets the record', async t => {
  const { node } = world()
  const { ticket } = await node().issue({ sub: 'ada' })
  const taken = await Promise.all(Array.from({ length: 50 }, () => node().take(ticket)))
  t.equal(taken.filter(({ refused }) => refused === undefined).length, 1)
  t.equal(taken.filter(({ refused }) => refused === 'used').length, 49)
})
