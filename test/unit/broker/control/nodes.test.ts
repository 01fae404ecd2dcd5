import t from 'tap'
import { NODES } from '../../../../services/broker/control/channels.ts'
import { Nodes, type NodeLoad } from '../../../../services/broker/control/nodes.ts'
import { LogUnavailable } from '../../../../services/broker/log/log.ts'
import { until } from '../../../support/until.ts'
import { sharedLog, silent } from './shared-log.ts'

const about = { role: 'all', version: '1.0.0', host: 'here', pid: 7, url: 'http://127.0.0.1:8080' }
const idle = (): NodeLoad => ({ connections: 0, channels: 0 })

function world() {
  const clock = { now: 1_000_000 }
  const shared = sharedLog(() => clock.now)
  const node = (more: { load?: () => NodeLoad; announceEvery?: number; log?: typeof shared.log } = {}) => {
    const log = shared.view()
    const nodes = new Nodes({ log, logger: silent, about, load: idle, now: () => clock.now, ...more })
    return { nodes, log }
  }
  return { ...shared, clock, node }
}

const ids = (nodes: Nodes) => new Set(nodes.list().map(({ id }) => id))

t.test('nodes discover each other, in any starting order, and notice a goodbye at once', async t => {
  const { node } = world()
  const [a, b] = [node(), node({ load: () => ({ connections: 3, channels: 2 }) })]
  t.strictSame(ids(a.nodes), new Set([a.nodes.id]), 'a node knows itself before it receives anything')
  await a.nodes.open()
  await b.nodes.open()
  t.teardown(() => a.nodes.close())
  t.strictSame(ids(a.nodes), new Set([a.nodes.id, b.nodes.id]))
  t.strictSame(ids(b.nodes), ids(a.nodes))
  t.match(
    a.nodes.list().find(({ id }) => id === b.nodes.id),
    { ...about, connections: 3, channels: 2 },
  )
  await b.nodes.close()
  t.strictSame(ids(a.nodes), new Set([a.nodes.id]))
  const c = node()
  await c.nodes.open()
  t.teardown(() => c.nodes.close())
  t.strictSame(ids(c.nodes), new Set([a.nodes.id, c.nodes.id]), 'a later node does not find one that left')
})

t.test('a node that has been silent for more than 15 s, by the clock of the log, is gone', async t => {
  const { node, clock } = world()
  const [a, b] = [node({ announceEvery: 1 }), node()]
  await b.nodes.open()
  await a.nodes.open()
  t.teardown(() => Promise.all([a.nodes.close(), b.nodes.close()]))
  const at = clock.now
  clock.now = at + 15_000
  t.strictSame(ids(a.nodes), new Set([a.nodes.id, b.nodes.id]))
  clock.now = at + 15_001
  t.strictSame(ids(a.nodes), new Set([a.nodes.id]), 'a node always lists itself')
})

t.test('periodic announcements wait until the log has answered the one before', async t => {
  const { node, log } = world()
  const { nodes, log: own } = node({ announceEvery: 1 })
  await nodes.open()
  t.teardown(() => nodes.close())
  const count = async () => (await log.state(NODES)).count
  await until('it has announced itself three times', async () => (await count()) >= 3)

  const { append } = own
  let calls = 0
  let fail = (_error: Error) => {}
  own.append = () => {
    calls++
    return new Promise((_resolve, reject) => {
      fail = reject
    })
  }
  await until('one announcement is under way', () => calls === 1)
  const before = await count()
  // The timer fires meanwhile.
  await new Promise(resolve => setTimeout(resolve, 20))
  t.equal(calls, 1)
  own.append = append
  fail(new LogUnavailable('away'))
  await until('announcements continue', async () => (await count()) > before)
})

t.test('a closed node and a node that was never open announce nothing', async t => {
  const { node, log } = world()
  await node().nodes.close()
  t.equal((await log.state(NODES)).count, 0)
  const { nodes } = node()
  await nodes.open()
  await nodes.close()
  await nodes.close()
  t.equal((await log.state(NODES)).count, 2, 'only the open node announced itself and its end')
})
