// Presence over several nodes that share a store, in one process. The store's clock is mocked.

import { mock } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ANONYMOUS, type Identity } from '../../../../services/broker/access/identity.ts'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import { LogUnavailable } from '../../../../services/broker/log/log.ts'
import type { Attending } from '../../../../services/broker/presence/attendance.ts'
import { MemoryMembers } from '../../../../services/broker/presence/memory.ts'
import { Presence } from '../../../../services/broker/presence/presence.ts'
import type { MemberStore } from '../../../../services/broker/presence/store.ts'
import { retentionIn } from '../../../contract/log.ts'
import { changesIn } from '../../../contract/members.ts'
import { silent } from '../../../support/redis-logs.ts'
import { stopPerformanceNow } from '../../../support/stopped-clock.ts'
import { until } from '../../../support/until.ts'

const ROOM = 'room:1'

const user = (name: string, more: Partial<Identity> = {}): Identity => ({
  ...ANONYMOUS,
  kind: 'token',
  user: name,
  ...more,
})

/** A connection that reads the room. */
class Client implements Attending {
  watcher: Attending['watcher']
  readonly #node: Presence

  constructor(node: Presence, identity: Identity, channel = ROOM) {
    this.#node = node
    node.attend(this, identity)
    this.watcher?.joined(channel)
  }

  identify(identity: Identity): void {
    this.#node.attend(this, identity)
  }

  gone(channel = ROOM): void {
    this.watcher?.left(channel)
  }
}

interface World {
  readonly log: MemoryLog
  /** The store behind the one that nodes use; tests may replace it. */
  behind: MemberStore
  readonly store: MemberStore
  clock: number
  node(grace?: number, visit?: number): Presence & { readonly away: (ms: number) => void }
  users(): Promise<string[]>
  changes(): Promise<string[]>
}

function world(t: Test): World {
  const log = new MemoryLog({ retentionOf: retentionIn({}), idempotencyWindow: 60_000 })
  const now = () => self.clock
  const self: World = {
    log,
    clock: 1_000_000,
    behind: new MemoryMembers(log, () => now()),
    store: undefined as never,
    node(grace = 0, visit = 50) {
      let cut = false
      const store = new Proxy({} as MemberStore, {
        get:
          (_, name: keyof MemberStore) =>
          async (...args: never[]) => {
            if (cut) throw new LogUnavailable('cut off')
            return await (self.behind[name] as (...all: never[]) => unknown)(...args)
          },
      })
      const node = new Presence({
        store,
        logger: silent,
        grace,
        keeps: channel => channel.startsWith('room:'),
        keepsAny: () => true,
        times: { renew: 10, verify: 20, visit },
      })
      node.open()
      t.teardown(() => node.close())
      return Object.assign(node, { away: (ms: number) => void ((cut = ms > 0), (self.clock += ms)) })
    },
    async users() {
      const { members } = await self.behind.page(ROOM, '', 1000)
      return members.map(member => JSON.parse(member).user)
    },
    changes: () => changesIn({ log, store: self.behind }, ROOM),
  }
  return self
}

t.test('a member joins once and leaves once, however many connections it has', async t => {
  const w = world(t)
  const [a, b] = [w.node(), w.node()]
  const clients = [new Client(a, user('ann')), new Client(a, user('ann')), new Client(b, user('ann'))]
  await until('three clients', async () => (await w.behind.count(ROOM)).clients === 3)
  for (const client of clients) client.gone()
  await until('nobody', async () => (await w.users()).length === 0)
  t.strictSame(await w.changes(), ['join ann', 'leave ann'])
})

t.test('without a grace period a member leaves with its last connection', async t => {
  const w = world(t)
  const node = w.node()
  const puts: number[] = []
  const { behind } = w
  const put = behind.put.bind(behind)
  behind.put = (channel, change) => {
    puts.push(...change.changes.map(({ clients }) => clients))
    return put(channel, change)
  }
  const client = new Client(node, user('ann'))
  await node.settled(ROOM)
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  client.gone()
  await node.settled(ROOM)
  t.strictSame(puts, [1, -1], 'it is never stored as a member without a connection')
  t.strictSame(await w.users(), [])
})

t.test('a reload within the grace period notifies nobody, even on another node', async t => {
  const w = world(t)
  const [a, b] = [w.node(1000), w.node(1000)]
  const first = new Client(a, user('ann'))
  await until('ann', async () => (await w.users()).length === 1)
  first.gone()
  const second = new Client(a, user('ann'))
  await until('one client', async () => (await w.behind.count(ROOM)).clients === 1)
  second.gone()
  const third = new Client(b, user('ann'))
  await until('only the other node has an entry', async () => (await w.behind.count(ROOM)).tags.length === 1)
  t.strictSame(await w.changes(), ['join ann'])
  third.gone()
  await until('nobody', async () => (await w.users()).length === 0)
  t.strictSame(await w.changes(), ['join ann', 'leave ann'])
})

t.test('changed user info is an update; another user on the connection is a leave and a join', async t => {
  const w = world(t)
  const node = w.node()
  const client = new Client(node, user('ann', { info: { n: 1 } }))
  await until('ann', async () => (await w.users()).length === 1)
  client.identify(user('ann', { info: { n: 2 } }))
  await until('an update', async () => (await w.changes()).length === 2)
  const page = await node.page(ROOM, '', 10)
  t.match(JSON.parse(page.members[0] ?? ''), { user: 'ann', info: { n: 2 } })
  const other = new Client(w.node(), user('ann', { info: { n: 3 } }))
  await until('an update by the other node', async () => (await w.changes()).length === 3)
  other.gone()
  client.identify(user('bob'))
  await until('bob alone', async () => `${await w.users()}` === 'bob')
  t.strictSame((await w.changes()).sort(), ['join ann', 'join bob', 'leave ann', 'update ann', 'update ann'])
})

t.test('servers are not members, and anonymous clients are counted', async t => {
  const w = world(t)
  const node = w.node()
  const clients = [new Client(node, user('', { kind: 'key' })), new Client(node, ANONYMOUS)]
  await until('one', async () => (await w.behind.count(ROOM)).clients === 1)
  t.match(await node.count(ROOM), { users: 0, clients: 1 })
  for (const client of clients) client.gone()
  await until('none', async () => (await w.behind.count(ROOM)).tags.length === 0)
})

t.test('a polling client is a member for a while', async t => {
  const w = world(t)
  const node = w.node(0, 1500)
  // Visits continue for longer than a single visit counts.
  for (let i = 0; i < 80; i++) {
    node.visit(user('ann'), [ROOM, 'other'])
    await wait(20)
  }
  t.strictSame(await w.users(), ['ann'])
  await until('ann is gone', async () => (await w.users()).length === 0)
  t.strictSame(await w.changes(), ['join ann', 'leave ann'])
})

t.test('polls of made-up names create at most 100 rooms per second', async t => {
  stopPerformanceNow(t)
  const w = world(t)
  const node = w.node(0, 60_000)
  node.visit(user('ann'), [ROOM])
  node.visit(
    user('eve'),
    Array.from({ length: 300 }, (_, i) => `room:made-up-${i}`),
  )
  node.visit(user('bob'), [ROOM])
  await until('ann and bob', async () => `${await w.users()}` === 'ann,bob')
  await node.settled('room:made-up-98')
  const lease = (await w.behind.count(ROOM)).tags[0]?.split('/')[0] ?? ''
  t.equal((await w.behind.attached(lease, 1000)).length, 100)
})

t.test('the members of a lost node leave once; a node that returns enters them again', async t => {
  const w = world(t)
  const [a, b, c] = [w.node(), w.node(), w.node()]
  for (const name of ['ann', 'bob']) new Client(a, user(name))
  new Client(b, user('bob'))
  await until('all', async () => (await w.behind.count(ROOM)).clients === 3)
  a.away(1)
  // The other nodes renew their leases meanwhile.
  for (let second = 0; second < 17; second++) {
    w.clock += 1000
    await wait(30)
  }
  await until('ann has left', async () => `${await w.users()}` === 'bob')
  t.strictSame((await w.changes()).sort(), ['join ann', 'join bob', 'leave ann'])
  a.away(0)
  await until('ann is back', async () => `${await w.users()}` === 'ann,bob')
  t.strictSame((await w.changes()).sort(), ['join ann', 'join ann', 'join bob', 'leave ann'])
  t.match(await c.count(ROOM), { users: 2, clients: 3 })
})

t.test('after a long outage of the store for all nodes, nobody leaves', async t => {
  const w = world(t)
  const nodes = [w.node(), w.node()]
  for (const [i, node] of nodes.entries()) new Client(node, user(`u${i}`))
  await until('both', async () => (await w.users()).length === 2)
  for (const node of nodes) node.away(60_000)
  await wait(30)
  for (const node of nodes) node.away(0)
  await wait(100)
  t.strictSame(await w.users(), ['u0', 'u1'])
  t.equal((await w.changes()).length, 2)
})

t.test('entries that the store lost are restored, and no leave is reported', async t => {
  const w = world(t)
  const node = w.node()
  const clients = ['ann', 'bob'].map(name => new Client(node, user(name)))
  await until('both', async () => (await w.users()).length === 2)
  w.behind = new MemoryMembers(w.log, () => w.clock)
  await until('both again', async () => (await w.users()).length === 2)
  t.notMatch((await w.changes()).join(), /leave/)
  clients[0]?.gone()
  await until('bob alone', async () => `${await w.users()}` === 'bob')
})

t.test('a channel that lost one entry in the store is repaired', async t => {
  const w = world(t)
  const node = w.node()
  for (const name of ['ann', 'bob']) new Client(node, user(name))
  await until('both', async () => (await w.users()).length === 2)
  const [tag = ''] = (await w.behind.count(ROOM)).tags
  const lost = { user: 'ann', clients: -1, who: '', updated: false }
  const put = { tag, until: Infinity, version: -1, changes: [lost], lives: false }
  await w.behind.put(ROOM, put)
  await until('ann again', async () => (await w.users()).length === 2)
  await until('one tag', async () => (await w.behind.count(ROOM)).tags.length === 1)
  t.match(await w.behind.count(ROOM), { users: 2, clients: 2 })
})

t.test('entries without a lease are removed by the next sweep', async t => {
  const w = world(t)
  const node = w.node()
  const ghost = { user: 'ghost', clients: 1, who: '"user":"ghost"', updated: false }
  await w.behind.put(ROOM, { tag: 'lost/1', until: Infinity, version: 1, changes: [ghost], lives: false })
  await until('a lease', async () => (await w.behind.renew('x', true)).leases.length > 1)
  await node.page(ROOM, '', 10)
  for (let second = 0; second < 17; second++) {
    w.clock += 1000
    await wait(20)
  }
  await until('nobody', async () => (await w.users()).length === 0)
  t.strictSame(await w.changes(), ['join ghost', 'leave ghost'])
})

t.test('the members of a stopping node leave after the grace period', async t => {
  const w = world(t)
  const [a] = [w.node(5000), w.node()]
  new Client(a, user('ann'))
  await until('ann', async () => (await w.users()).length === 1)
  await a.close()
  w.clock += 4000
  await wait(50)
  t.strictSame(await w.users(), ['ann'])
  w.clock += 2000
  await until('ann has left', async () => (await w.users()).length === 0)
})

t.test('a polling member of a stopping node remains for the time of a visit', async t => {
  const w = world(t)
  const a = w.node(1000, 20_000)
  w.node()
  a.visit(user('ann'), [ROOM])
  new Client(a, user('bob'))
  await until('both', async () => `${await w.users()}` === 'ann,bob')
  await a.close()
  const second = async () => {
    w.clock += 1000
    await wait(30)
  }
  await second()
  await until('bob has left', async () => `${await w.users()}` === 'ann')
  for (let i = 0; i < 10; i++) await second()
  t.strictSame(await w.users(), ['ann'])
  for (let i = 0; i < 10; i++) await second()
  await until('ann has left', async () => (await w.users()).length === 0)
  t.strictSame(await w.changes(), ['join ann', 'join bob', 'leave bob', 'leave ann'])
})

t.test('after an outage of the store, members that came and went meanwhile are not reported', async t => {
  const w = world(t)
  const node = w.node()
  node.away(1)
  const ann = new Client(node, user('ann'))
  new Client(node, user('bob'))
  await wait(50)
  ann.gone()
  await wait(20)
  node.away(0)
  await until('bob', async () => `${await w.users()}` === 'bob')
  t.strictSame(await w.changes(), ['join bob'])
})
