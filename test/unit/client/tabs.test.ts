// Tabs share one connection: clients in this process, with the Web Locks of test/support/ and Node's BroadcastChannel.

import '../../support/web-locks.ts'
import t from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import { late, locks } from '../../support/web-locks.ts'
import { until } from '../../support/until.ts'
import { client, numbers, Seen } from './follow.ts'

const node = await startMemoryNode()
const url = `http://127.0.0.1:${node.port}`
t.teardown(() => node.close())
const tab = () => client(url, { tabs: 'shared', wires: ['ws'] })

const readers = async (channel: string) =>
  (JSON.parse((await node.get(`/v1/channels/${channel}`)).body) as { readers: number }).readers

t.test(
  'tabs share a connection; when the leader is closed, another tab resumes at the position of each tab',
  async t => {
    const tabs = numbers(1, 4).map(tab)
    t.teardown(() => tabs.forEach(each => each.close()))
    const seen = tabs.map(each => new Seen(each.subscribe('shared', { cursor: 'earliest' })))
    for (const n of numbers(1, 20)) await node.append('shared', `${n}`)
    for (const each of seen) await each.has(20)
    await until('tabs share a reader', async () => (await readers('shared')) === 1)
    for (const each of tabs) await until('all know the state', () => each.state.name === 'connected')
    let n = 20
    const publishing = setInterval(() => void node.append('shared', `${++n}`), 1)
    t.teardown(() => clearInterval(publishing))
    for (const at of [0, 1]) {
      tabs[at]?.close()
      for (const each of seen.slice(at + 1)) await each.has(n + 20)
      await until('the others share a reader', async () => (await readers('shared')) === 1)
    }
    const late = tab()
    t.teardown(() => late.close())
    const all = new Seen(late.subscribe('shared', { cursor: 'earliest' }))
    await all.has(n + 10)
    clearInterval(publishing)
    for (const each of [...seen.slice(2), all]) {
      await each.has(n)
      t.strictSame([each.data, each.gaps], [numbers(1, n), []])
    }
  },
)

t.test('tabs hear a successor that takes the lead after they heard of the close', async t => {
  late.grant = 50
  t.teardown(() => (late.grant = 0))
  const tabs = numbers(1, 3).map(tab)
  t.teardown(() => tabs.forEach(each => each.close()))
  const [leader, ...others] = tabs
  new Seen(leader?.subscribe('succeeded') as never)
  await until('it leads', () => leader?.state.name === 'connected')
  const seen = others.map(each => new Seen(each.subscribe('succeeded')))
  for (const each of others) await until('it follows', () => each.state.name === 'connected')
  const states: string[] = []
  for (const each of others) each.on('state', ({ name }) => states.push(name))
  // Nobody reads for a moment only, so that a look may miss it: a successor has another connection.
  const earlier = new Set(node.hub.connections)
  leader?.close()
  await until('it is left', () => ![...node.hub.connections].some(each => earlier.has(each)))
  await until('a successor reads', async () => (await readers('succeeded')) === 1)
  await node.append('succeeded', '1')
  for (const each of seen) await each.has(1)
  t.notOk(states.includes('closed'), `${states}`)
})

t.test('the leader leaves channels that no tab reads any more', async t => {
  const [leader, follower] = [tab(), tab()]
  t.teardown(() => [leader.close(), follower.close()])
  const theirs = new Seen(leader.subscribe('theirs'))
  const subscription = follower.subscribe('mine')
  const mine = new Seen(subscription)
  await until('both are read', async () => (await readers('mine')) === 1 && (await readers('theirs')) === 1)
  await until('the follower is connected', () => follower.state.name === 'connected')
  await node.append('mine', '1')
  await mine.has(1)
  subscription.close()
  await until('the channel is left', async () => (await readers('mine')) === 0)
  const again = follower.subscribe('mine', { cursor: 'earliest' })
  t.strictSame(await new Seen(again).has(1), undefined)
  follower.close()
  await until('the channels of a closed tab are left', async () => (await readers('mine')) === 0)
  await node.append('theirs', '1')
  await theirs.has(1)
})

t.test('a tab that loses the leadership becomes a follower', async t => {
  const [one, two] = [tab(), tab()]
  t.teardown(() => [one.close(), two.close()])
  const seen = [one, two].map(each => new Seen(each.subscribe('stolen', { cursor: 'earliest' })))
  await node.append('stolen', '1')
  for (const each of seen) await each.has(1)
  let free = () => {}
  // Another page, without fanwire, holds the lock for a moment.
  const held = new Promise<void>(resolve => {
    void locks.request(`fanwire:${url}`, { steal: true }, () => {
      resolve()
      return new Promise<void>(done => (free = done))
    })
  })
  await held
  await until('nobody reads', async () => (await readers('stolen')) === 0)
  await node.append('stolen', '2')
  free()
  for (const each of seen) {
    await each.has(2)
    t.strictSame(each.data, [1, 2])
  }
})

t.test('a tab that acquires its own lock late is not treated as closed', async t => {
  const leader = tab()
  t.teardown(() => leader.close())
  const first = new Seen(leader.subscribe('late', { cursor: 'earliest' }))
  await node.append('late', '1')
  await first.has(1)
  let arrive = () => {}
  late.until = new Promise(resolve => (arrive = resolve))
  const follower = tab()
  t.teardown(() => follower.close())
  late.until = undefined
  const second = new Seen(follower.subscribe('late', { cursor: 'earliest' }))
  // The leader has received all messages of the tab, and could have acquired the tab's lock.
  await answered()
  await answered()
  arrive()
  await second.has(1)
  await answered()
  await answered()
  await node.append('late', '2')
  for (const each of [first, second]) {
    await each.has(2)
    t.strictSame(each.data, [1, 2])
  }
})

t.test('a follower ignores an earlier leader that was frozen and wakes up', async t => {
  const [leader, follower] = [tab(), tab()]
  t.teardown(() => [leader.close(), follower.close()])
  const seen = [leader, follower].map(each => new Seen(each.subscribe('woken', { cursor: 'earliest' })))
  const [id = ''] = await node.append('woken', '1')
  for (const each of seen) await each.has(1)
  await until('it knows the leader', () => follower.state.name === 'connected')
  const ahead = { channel: 'woken', id: id.replace(/\d+$/, '4'), time: 0, data: 4 }
  const earlier = new BroadcastChannel(`fanwire:${url}`)
  t.teardown(() => earlier.close())
  earlier.postMessage({ say: 'item', key: '["woken",{}]', item: { event: ahead }, term: 1 })
  await answered()
  for (const data of ['2', '3', '4', '5']) await node.append('woken', data)
  for (const each of seen) {
    await each.has(5)
    t.strictSame(each.data, [1, 2, 3, 4, 5])
  }
})

/** Returns when the leading tab has answered a ping. */
async function answered(): Promise<void> {
  const channel = new BroadcastChannel(`fanwire:${url}`)
  const answer = new Promise<void>(resolve => {
    channel.onmessage = () => resolve()
  })
  channel.postMessage({ say: 'ping' })
  await answer
  channel.close()
}
