// Clients are visited in slices: to check them after the rules have changed, to end those of a user, and to end those
// whose credentials expire.

import { EventEmitter } from 'node:events'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import type { Access } from '../../../services/broker/access/access.ts'
import { grant, type Grants } from '../../../services/broker/access/grants.ts'
import { ANONYMOUS, type Identity, withChannelTokens } from '../../../services/broker/access/identity.ts'
import { Clients, DISCONNECTED, type Held } from '../../../services/http/clients.ts'
import { stopPerformanceNow } from '../../support/stopped-clock.ts'

let clock: ReturnType<typeof stopPerformanceNow>

const turn = () => new Promise(resolve => setImmediate(resolve))

/** Clients of an access without rules, whose tokens can be revoked. */
function fixture(t: Test, rights: Partial<Pick<Access, 'may'>> = {}, mostTokens?: number) {
  const revoked = new Set<string>()
  const access = Object.assign(new EventEmitter(), {
    isOpen: false,
    isRevoked: ({ user }: Identity) => revoked.has(user),
    withoutLapsed: (identity: Identity) => ({ identity }),
    may: () => ({ allowed: true }),
    ...rights,
  })
  const clients = new Clients(access as unknown as Access, undefined, mostTokens)
  t.teardown(() => clients.close())
  const ended: string[] = []
  return {
    access,
    clients,
    /** What has ended, and why, in order. */
    ended,
    revoke(user: string) {
      revoked.add(user)
      access.emit('revoked', user)
    },
    /** Connects a client that reads the channel. Its end takes 1 ms. */
    connect(channel: string, identity: Identity = ANONYMOUS, more: Partial<Held> = {}) {
      const held: Held = {
        wire: 'ws',
        channels: [channel],
        positionIn: () => undefined,
        end({ code, reason }) {
          clock.forward(1)
          ended.push(`${channel}: ${code} ${reason}`)
        },
        ...more,
      }
      return clients.add(held, { identity, asker: undefined })
    },
  }
}

/** A user's identity. `looked` is called whenever the user is read. */
function userNamed(name: string, looked = () => {}): Identity {
  return {
    ...ANONYMOUS,
    kind: 'token',
    get user() {
      looked()
      return name
    },
  }
}

t.test('clients are checked in slices, and by the newest rules if those change meanwhile', async t => {
  clock = stopPerformanceNow(t)
  let forbidden = ''
  const checked: string[] = []
  const { access, connect, ended } = fixture(t, {
    may: (_identity, _right, channel = '') => {
      clock.forward(1)
      checked.push(channel)
      return { allowed: channel !== forbidden } as ReturnType<Access['may']>
    },
  })
  for (const channel of ['a', 'b', 'c', 'd', 'e', 'f']) connect(channel)
  checked.length = 0

  forbidden = 'f'
  access.emit('rules')
  t.strictSame(checked, ['a', 'b'], 'then others have their turn')
  forbidden = 'a'
  access.emit('rules')
  connect('g')
  while (ended.length === 0) await turn()
  t.strictSame(ended, ['a: 4403 may not read a any more'], 'only the newest rules apply')
  while (checked.length < 'abgcdefabcdefg'.length) await turn()
  t.strictSame(checked.join(''), 'abgcdefabcdefg')
  t.equal(ended.length, 1)
})

t.test("a user's clients are searched for in slices", async t => {
  clock = stopPerformanceNow(t)
  const { clients, connect, ended } = fixture(t)
  let looks = 0
  const bob = userNamed('bob', () => {
    looks++
    clock.forward(1)
  })
  for (const channel of ['a', 'b', 'c', 'd']) connect(channel, bob)
  connect('e', userNamed('ada'))
  looks = 0
  clients.end('ada', DISCONNECTED)
  t.equal(looks, 2, 'then others have their turn')
  while (ended.length === 0) await turn()
  t.strictSame(ended, ['e: 4401 disconnected'])
  t.equal(clients.size, 4)
})

t.test("a user's clients end in slices, without those that close or connect meanwhile", async t => {
  clock = stopPerformanceNow(t)
  const { clients, connect, ended } = fixture(t)
  const ada = userNamed('ada')
  const all = ['a', 'b', 'c', 'd', 'e', 'f'].map(channel => connect(channel, ada))
  connect('g', userNamed('bob'))
  clients.end('ada', DISCONNECTED, ({ held }) => held.channels[0] !== 'e')
  t.equal(ended.length, 2, 'then others have their turn')
  clients.remove(all[2])
  connect('h', ada)
  while (ended.length < 4) await turn()
  await turn()
  t.strictSame(
    ended,
    ['a', 'b', 'd', 'f'].map(channel => `${channel}: 4401 disconnected`),
  )
  t.strictSame(
    [...clients].map(({ held }) => held.channels[0]),
    ['e', 'g', 'h'],
  )
})

t.test("a user's clients are unsubscribed from a channel in slices", async t => {
  clock = stopPerformanceNow(t)
  const { clients, connect, ended } = fixture(t)
  const dropped: string[] = []
  const drop = (channel: string) => {
    clock.forward(1)
    dropped.push(channel)
    return true
  }
  const ada = userNamed('ada')
  for (let i = 0; i < 4; i++) connect('a', ada, { drop })
  connect('b', ada, { drop })
  connect('a', userNamed('bob'), { drop })
  connect('a', ada)
  clients.unsubscribe('ada', 'a')
  t.strictSame(dropped, ['a', 'a'], 'then others have their turn')
  while (ended.length === 0) await turn()
  t.strictSame(dropped, ['a', 'a', 'a', 'a'])
  t.strictSame(ended, ['a: 4403 unsubscribed from a'])
})

t.test('no client of a revoked user stays, not even one that connects meanwhile', async t => {
  clock = stopPerformanceNow(t)
  const { connect, ended, revoke, clients } = fixture(t)
  for (const channel of ['a', 'b', 'c']) connect(channel, userNamed('ada'))
  connect('d', userNamed('bob'))
  revoke('ada')
  t.equal(ended.length, 2, 'then others have their turn')
  revoke('bob')
  connect('e', userNamed('ada'))
  connect('f', userNamed('cleo'))
  t.equal(ended.at(-1), 'e: 4401 token revoked')
  while (ended.length < 5) await turn()
  t.strictSame(
    ended,
    ['a', 'b', 'e', 'c', 'd'].map(channel => `${channel}: 4401 token revoked`),
  )
  t.equal(clients.size, 1)
})

t.test('revocations and ends during a walk over the clients share the next walk, in order', async t => {
  clock = stopPerformanceNow(t)
  const { clients, connect, ended, revoke } = fixture(t)
  let looks = 0
  for (let i = 0; i < 10; i++)
    connect(
      `user-${i}`,
      userNamed(`user-${i}`, () => looks++),
    )
  looks = 0
  for (let i = 1; i < 10; i++) {
    revoke(`user-${i}`)
    clients.end(`user-${i}`, DISCONNECTED)
  }
  while (ended.length < 9) await turn()
  t.ok(looks < 4 * 10, `${looks} looks at users`)
  t.strictSame(
    ended,
    Array.from({ length: 9 }, (_, i) => `user-${i + 1}: 4401 token revoked`),
  )
})

t.test('clients whose credentials expire in the same second end in slices', async t => {
  clock = stopPerformanceNow(t)
  mock.timers.enable({ apis: ['setInterval', 'Date'], now: 1_000_000 })
  t.teardown(() => mock.timers.reset())
  const { clients, connect, ended } = fixture(t)
  const until = (connectionEndsAt: number): Identity => ({ ...ANONYMOUS, kind: 'token', connectionEndsAt })
  const all = ['a', 'b', 'c', 'd', 'e', 'f'].map(channel => connect(channel, until(1001)))
  connect('g', until(1002))
  mock.timers.tick(1000)
  t.equal(ended.length, 2, 'then others have their turn')
  clients.remove(all[2])
  clients.renew(all[3], until(1003))
  mock.timers.tick(1000)
  t.equal(ended.length, 2, 'the next second waits for the rest of this one')
  while (ended.length < 4) await turn()
  await turn()
  t.strictSame(
    ended,
    ['a', 'b', 'e', 'f'].map(channel => `${channel}: 4401 token expired`),
  )
  mock.timers.tick(1000)
  while (ended.length < 6) await turn()
  t.equal(clients.size, 0)
})

t.test(
  'a client keeps a bounded number of channel tokens, first those of channels that it reads',
  async t => {
    const { clients, connect } = fixture(t, {}, 3)
    const client = connect('room:0')
    if (client === undefined) return t.fail('it is not connected')
    for (const room of [0, 1, 2, 3, 4]) {
      const token: Grants = {
        source: 'token',
        list: [grant('channel token', [`room:${room}`], ['subscribe'])],
        channelToken: { endsAt: undefined, signer: undefined, issuedAt: undefined },
      }
      clients.renew(client, withChannelTokens(client.identity, [token]))
    }
    t.strictSame(
      client.identity.grants.flatMap(({ list }) => list.flatMap(({ channels }) => channels)),
      ['room:0', 'room:3', 'room:4'],
    )
  },
)
