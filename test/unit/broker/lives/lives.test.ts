// The log of lives records the lives of channels and members completely and in order, even over outages.

import t, { type Test } from 'tap'
import type { Draft } from '../../../../services/broker/event/event.ts'
import { LIVES_CHANNELS, livesOf } from '../../../../services/broker/lives/channels.ts'
import { Lives } from '../../../../services/broker/lives/lives.ts'
import { covers, type LifeWord } from '../../../../services/broker/rules/life-kinds.ts'
import { LogUnavailable } from '../../../../services/broker/log/log.ts'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import { MemoryMembers } from '../../../../services/broker/presence/memory.ts'
import { Presence } from '../../../../services/broker/presence/presence.ts'
import { dataOf, readAll, retentionIn } from '../../../contract/log.ts'
import { silent } from '../../../support/redis-logs.ts'
import { until } from '../../../support/until.ts'

const ROOM = 'room:1'

function world(t: Test, words: readonly LifeWord[] = ['*']) {
  const log = new MemoryLog({ retentionOf: retentionIn({}), idempotencyWindow: 60_000 })
  const time = { clock: 1_000_000, away: false }
  const store = new MemoryMembers(log, () => time.clock)
  const livesLog = Object.create(log, {
    append: {
      value: async (channel: string, drafts: readonly Draft[]) => {
        if (time.away) throw new LogUnavailable('away')
        return await log.append(channel, drafts)
      },
    },
  }) as MemoryLog
  return {
    time,
    log,
    node() {
      const lives = new Lives({ log: livesLog, store, logger: silent, records: kind => covers(words, kind) })
      const presence = new Presence({
        store,
        logger: silent,
        lives,
        grace: 0,
        keeps: () => true,
        keepsAny: () => true,
        times: { renew: 10, verify: 20 },
      })
      presence.open()
      const close = async () => {
        lives.close()
        await presence.close()
      }
      t.teardown(close)
      return { lives, presence, close }
    },
    async recorded(channel = livesOf(ROOM)) {
      const events = (await readAll(log, channel, 'earliest')).flatMap(page => page.events)
      return events.map(event => `${event.type} ${(dataOf(event) as { user?: string }).user ?? ''}`.trim())
    },
  }
}

const WHOLE = ['channel.occupied', 'presence.joined ann', 'presence.left ann', 'channel.vacated']

t.test('the life of a channel and of a member is recorded in order', async t => {
  const w = world(t)
  const { presence } = w.node()
  presence.enter(ROOM, 'ann', '"user":"ann","info":{"n":1}')
  await until('the join is recorded', async () => (await w.recorded()).length === 2)
  presence.leave(ROOM, 'ann')
  await until('all', async () => (await w.recorded()).length === 4)
  t.strictSame(await w.recorded(), WHOLE)
  const [page] = await readAll(w.log, livesOf(ROOM), 'earliest')
  t.strictSame(page?.events.map(dataOf), [
    { channel: ROOM },
    { channel: ROOM, user: 'ann', info: { n: 1 } },
    { channel: ROOM, user: 'ann', info: { n: 1 } },
    { channel: ROOM },
  ])
})

t.test('only the enabled kinds are recorded', async t => {
  const w = world(t, ['presence.left'])
  const { presence, lives } = w.node()
  presence.enter(ROOM, 'ann', '"user":"ann"')
  await until('ann is a member', async () => (await presence.count(ROOM)).users === 1)
  presence.leave(ROOM, 'ann')
  lives.record('client.connected', 'ann', {})
  await until('all', async () => (await w.recorded()).length === 1)
  t.strictSame(await w.recorded(), ['presence.left ann'])
  t.strictSame(await w.recorded(livesOf('ann')), livesOf('ann') === livesOf(ROOM) ? await w.recorded() : [])
})

t.test('many records are kept while the log of lives is unavailable', async t => {
  const w = world(t)
  const { presence } = w.node()
  w.time.away = true
  for (let i = 0; i < 1500; i++) presence.enter(ROOM, `u${i}`, `"user":"u${i}"`)
  await until('all are members', async () => (await presence.count(ROOM)).users === 1500)
  for (let i = 0; i < 1500; i++) presence.leave(ROOM, `u${i}`)
  await until('all have left', async () => (await presence.count(ROOM)).users === 0)
  t.strictSame(await w.recorded(), [])
  w.time.away = false
  await until('all', async () => (await w.recorded()).length === 3002)
  const recorded = await w.recorded()
  t.equal(new Set(recorded).size, 3002)
  t.equal(recorded[0], 'channel.occupied')
  t.equal(recorded.at(-1), 'channel.vacated')
})

t.test('records that a node could not write are written by another', async t => {
  const w = world(t)
  const [a] = [w.node(), w.node()]
  w.time.away = true
  a.presence.enter(ROOM, 'ann', '"user":"ann"')
  await until('ann is a member', async () => (await a.presence.count(ROOM)).users === 1)
  a.presence.leave(ROOM, 'ann')
  await until('ann has left', async () => (await a.presence.count(ROOM)).users === 0)
  await a.close()
  w.time.away = false
  w.time.clock += 3000
  t.strictSame(await w.recorded(), [])
  await until('all', async () => (await w.recorded()).length === 4)
  t.strictSame(await w.recorded(), WHOLE)
})

t.test('events of clients are recorded in order', async t => {
  const w = world(t)
  const { lives } = w.node()
  w.time.away = true
  for (let i = 0; i < 250; i++) lives.record('client.connected', `u${i % 3}`, { user: `u${i % 3}`, n: i })
  w.time.away = false
  const all = async () => {
    const pages = await Promise.all(LIVES_CHANNELS.map(channel => readAll(w.log, channel, 'earliest')))
    return pages
      .flat()
      .flatMap(({ events }) => events.map(event => dataOf(event) as { user: string; n: number }))
  }
  await until('all', async () => (await all()).length === 250)
  for (const name of ['u0', 'u1', 'u2']) {
    const own = (await all()).filter(each => each.user === name).map(({ n }) => n)
    t.strictSame(
      own,
      own.toSorted((x, y) => x - y),
    )
  }
})
