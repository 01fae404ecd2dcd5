// The contract in services/broker/presence/store.ts as a suite that every engine must pass.

import type { Test } from 'tap'
import type { ChannelLog } from '../../services/broker/log/log.ts'
import { presenceOf } from '../../services/broker/event/names.ts'
import type { Change, MemberStore, Put } from '../../services/broker/presence/store.ts'
import { dataOf, readAll } from './log.ts'

export interface MembersWorld {
  readonly store: MemberStore
  readonly log: ChannelLog
}

export const change = (user: string, clients = 1, more: Partial<Change> = {}): Change => ({
  user,
  clients,
  who: `"user":${JSON.stringify(user)}`,
  updated: false,
  ...more,
})

const put = (tag: string, ...changes: Change[]): Put => ({
  tag,
  until: Number.MAX_SAFE_INTEGER,
  version: 1,
  changes,
  lives: true,
})

/** The entries of the log of joins and leaves, as `join ann`. */
export async function changesIn({ log }: MembersWorld, channel: string): Promise<string[]> {
  const pages = await readAll(log, presenceOf(channel), 'earliest')
  return pages
    .flatMap(({ events }) => events)
    .map(event => `${event.type} ${(dataOf(event) as { user: string }).user}`)
}

const PORTION = 500

/** A very large number of users in one channel. */
export function crowdContract(
  t: Test,
  engine: string,
  make: (t: Test) => Promise<MembersWorld>,
  count = 100_000,
): void {
  t.test(`${engine}: ${count} users in one channel`, async t => {
    const { store } = await make(t)
    const channel = named()
    const name = (i: number) => `user ${String(i).padStart(6, '0')}`
    for (let at = 0; at < count; at += PORTION) {
      const changes = Array.from({ length: PORTION }, (_, i) => change(name(at + i)))
      await store.put(channel, { ...put('a/1', ...changes), lives: false })
    }
    t.match(await store.count(channel), { users: count, clients: count })
    const page = await store.page(channel, name(count / 2 - 1), 1000)
    t.equal(page.members.length, 1000)
    t.match(JSON.parse(page.members[0] ?? ''), { user: name(count / 2) })
    t.equal(page.next, name(count / 2 + 999))
    const { more } = await store.expel(channel, 'a/1', false)
    t.ok(more, 'members are removed in several calls')
    const { users } = await store.count(channel)
    t.ok(users < count && users > count / 2)
    let calls = 1
    for (let left = more; left && calls < count; calls++) {
      left = (await store.expel(channel, 'a/1', false)).more
    }
    t.equal(calls, count / PORTION, 'each call removes a portion')
    t.strictSame(await store.count(channel), { users: 0, clients: 0, tags: [] })
  })
}

let made = 0
const named = () => `room:${++made}`

/** Each test of the suite uses a separate channel. */
export function membersContract(t: Test, engine: string, make: (t: Test) => Promise<MembersWorld>): void {
  t.test(`${engine}: members`, async t => {
    const world = await make(t)
    const { store, log } = world
    const page = (channel: string, after = '', limit = 100) => store.page(channel, after, limit)
    const users = async (channel: string) =>
      (await page(channel)).members.map(member => JSON.parse(member).user)

    t.test('a user joins with its first entry and leaves with its last, over all nodes', async t => {
      const channel = named()
      await store.put(channel, put('a/1', change('ann'), change('bob', 2)))
      await store.put(channel, put('b/1', change('ann')))
      t.match(await store.count(channel), { users: 2, clients: 4, tags: ['a/1', 'b/1'] })
      await store.put(channel, put('a/1', change('ann', -1), change('bob', 1)))
      t.strictSame(await users(channel), ['ann', 'bob'])
      await store.put(channel, put('b/1', change('ann', -1)))
      t.strictSame(await users(channel), ['bob'])
      t.strictSame(await changesIn(world, channel), ['join ann', 'join bob', 'leave ann'])
      t.match(await store.count(channel), { users: 1, clients: 1, tags: ['a/1'] })
    })

    t.test('the same change again changes nothing', async t => {
      const channel = named()
      for (let i = 0; i < 3; i++) await store.put(channel, put('a/1', change('ann', 2)))
      t.match(await store.count(channel), { users: 1, clients: 2 })
      for (let i = 0; i < 3; i++) await store.put(channel, put('a/1', change('ann', -1)))
      t.match(await store.count(channel), { users: 0, clients: 0, tags: [] })
      t.strictSame(await changesIn(world, channel), ['join ann', 'leave ann'])
    })

    t.test('user info is reported, and updated if it is newer', async t => {
      const channel = named()
      const who = (n: number) => `"user":"ann","info":{"n":${n}}`
      await store.put(channel, put('a/1', change('ann', 1, { who: who(1) })))
      await store.put(channel, put('a/1', change('ann', 1, { who: who(2) })))
      await store.put(channel, put('a/1', change('ann', 1, { who: who(3), updated: true })))
      const [page] = await readAll(log, presenceOf(channel), 'earliest')
      t.match(
        page?.events.map(event => [event.type, dataOf(event)]),
        [
          ['join', { user: 'ann', info: { n: 1 }, clients: 1 }],
          ['update', { user: 'ann', info: { n: 3 } }],
        ],
      )
      const { members } = await store.page(channel, '', 10)
      t.match(JSON.parse(members[0] ?? ''), { user: 'ann', info: { n: 3 }, since: Number })
    })

    t.test('the page has the cursor from which the log has the changes', async t => {
      const channel = named()
      const { cursor: before } = await page(channel)
      await store.put(channel, put('a/1', change('ann')))
      const { cursor: after, members } = await page(channel)
      t.equal(members.length, 1)
      const since = async (at: typeof after) =>
        (await log.read(presenceOf(channel), at, { events: 10, bytes: 10_000 })).events.length
      t.equal(await since(before), 1)
      t.equal(await since(after), 0)
    })

    t.test('pages are in the order of user names, whatever the characters', async t => {
      const channel = named()
      const odd = ['\u0000', '\n', '"', '%', 'a b', 'ann', 'é', '日本', '😀', 'x'.repeat(200)]
      const all = [...odd].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      await store.put(channel, put('a/1', ...odd.map(user => change(user))))
      const found: string[] = []
      for (let after: string | undefined = ''; after !== undefined;) {
        const { members, next }: Awaited<ReturnType<typeof page>> = await page(channel, after, 3)
        found.push(...members.map(member => JSON.parse(member).user))
        after = next
      }
      t.strictSame(found, all)
      await store.put(channel, put('a/1', ...odd.map(user => change(user, -1))))
      t.match(await store.count(channel), { users: 0 })
    })

    t.test('anonymous members are counted but not reported', async t => {
      const channel = named()
      await store.put(channel, put('a/1', change('', 7)))
      t.match(await store.count(channel), { users: 0, clients: 7 })
      t.strictSame(await users(channel), [])
      t.strictSame(await changesIn(world, channel), [])
    })

    t.test('removing the entries of a tag leaves other entries', async t => {
      const channel = named()
      const many = Array.from({ length: 1200 }, (_, i) => change(`u${i}`))
      await store.put(channel, put('a/1', ...many))
      await store.put(channel, put('b/1', change('u5')))
      while ((await store.expel(channel, 'a/1', true)).more);
      t.strictSame(await users(channel), ['u5'])
      t.match(await store.count(channel), { users: 1, clients: 1, tags: ['b/1'] })
      const leaves = (await changesIn(world, channel)).filter(each => each.startsWith('leave'))
      t.equal(leaves.length, 1199)
      t.notOk(leaves.includes('leave u5'))
    })

    t.test('the store knows the version of the last put of a tag that has entries', async t => {
      const channel = named()
      await store.put(channel, { ...put('a/1', change('ann')), version: 7 })
      t.equal((await store.version(channel, 'a/1')).version, 7)
      t.equal((await store.version(channel, 'b/1')).version, undefined)
      await store.put(channel, { ...put('a/1', change('ann', -1)), version: 8 })
      t.equal((await store.version(channel, 'a/1')).version, undefined)
    })

    t.test('a change that arrives too late has no effect', async t => {
      const channel = named()
      t.equal(await store.put(channel, { ...put('a/1', change('ann')), until: 1 }), undefined)
      t.match(await store.count(channel), { users: 0 })
    })

    t.test('records for the log of lives are kept until it has stored them', async t => {
      const channel = named()
      await store.put(channel, put('a/1', change('', 1)))
      await store.put(channel, put('a/1', change('ann')))
      const outbox = (await store.put(channel, put('a/1', change('', -1), change('ann', -1)))) ?? []
      t.strictSame(
        outbox.map(({ kind, who }) => `${kind} ${who}`),
        ['occupied ', 'joined "user":"ann"', 'left "user":"ann"', 'vacated '],
      )
      t.equal(new Set(outbox.map(({ key }) => key)).size, 4)
      await store.acknowledge(channel, outbox[1]?.key ?? '')
      const rest = (await store.version(channel, 'a/1')).outbox
      t.strictSame(
        rest.map(({ kind }) => kind),
        ['left', 'vacated'],
      )
      await store.acknowledge(channel, outbox[0]?.key ?? '')
      t.equal((await store.version(channel, 'a/1')).outbox.length, 2, 'a known change')
      await store.acknowledge(channel, outbox[3]?.key ?? '')
      await store.put(channel, { ...put('a/1', change('bob')), lives: false })
      t.strictSame((await store.version(channel, 'a/1')).outbox, [])
    })

    t.test('joins and leaves alternate during concurrent changes', async t => {
      const channel = named()
      const sides = ['a/1', 'b/1'].map(async tag => {
        for (let i = 0; i < 20; i++) {
          await store.put(channel, put(tag, change('ann', i % 2 === 0 ? 1 : -1)))
        }
      })
      await Promise.all(sides)
      t.match(await store.count(channel), { users: 0, clients: 0, tags: [] })
      const all = await changesIn(world, channel)
      t.ok(all.length > 0 && all.length % 2 === 0)
      t.ok(
        all.every((each, i) => each === (i % 2 === 0 ? 'join ann' : 'leave ann')),
        'they alternate',
      )
    })
  })

  t.test(`${engine}: a lease that ends in the future does not hide an outage`, async t => {
    const { store } = await make(t)
    for (const [lease, within] of [
      ['long', 60_000],
      ['short', 0],
    ] as const) {
      await store.renew(lease, true)
      await store.end(lease, within)
    }
    const { leases, ended } = await store.renew('a', true)
    t.same([leases.toSorted(), ended], [['a', 'long', 'short'], []])
  })

  t.test(`${engine}: leases`, async t => {
    const { store } = await make(t)
    t.match(await store.renew('a', true), { held: true, leases: ['a'], ended: [] })
    t.match(await store.renew('a', false), { held: true, now: Number })
    t.match(await store.renew('b', false), { held: false, leases: ['a'] }, 'an unknown lease')
    await store.renew('b', true)
    await store.attach('b', 'x')
    await store.attach('b', 'y')
    await store.attach('c', 'x')
    t.strictSame((await store.renew('a', false)).leases.toSorted(), ['a', 'b', 'c'])
    t.strictSame((await store.attached('b', 10)).sort(), ['x', 'y'])
    await store.end('b', 0)
    t.match(await store.renew('a', false), { ended: ['b'] })
    t.match(await store.renew('b', false), { held: false }, 'an ended lease is not renewed')
    await store.detach('b', ['x'])
    t.match(await store.renew('a', false), { ended: ['b'] }, 'reported until its last channel is detached')
    await store.detach('b', ['y'])
    t.strictSame((await store.renew('a', false)).leases.toSorted(), ['a', 'c'])
    await store.end('a', 60_000)
    t.match(await store.renew('c', false), { ended: [] })
  })
}
