// `fanwire publish` and `fanwire follow` through real load balancers, while balancers and nodes change.

import { createHash } from 'node:crypto'
import t from 'tap'
import { freePort } from '../../infra/local/ports.ts'
import { startBalancer } from '../../infra/local/topology.ts'
import { availableBalancers } from '../support/balancers.ts'
import { launchCommand } from '../support/launch-command.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const WIRES = ['ws', 'sse', 'stream', 'long-poll', 'poll']
const KINDS = await availableBalancers(t)

const sha256 = (lines: readonly string[]) =>
  createHash('sha256')
    .update(lines.map(line => `${line}\n`).join(''))
    .digest('hex')

const [kind] = KINDS
if (kind !== undefined) {
  const other = kind === 'nginx' ? 'haproxy' : 'nginx'
  const replacement = KINDS.includes(other) ? other : kind

  t.test(
    `${kind} is reloaded, then replaced by ${replacement}, and nodes restart: no line is lost or repeated`,
    async t => {
      const redis = await startRedis()
      const start = (port: number) =>
        startNode({ env: { PORT: `${port}`, REDIS_URL: redis.url, FANWIRE_DRAIN: '1s' } })
      let [one, two] = await Promise.all([start(await freePort()), start(await freePort())])
      const only = ({ port }: RunningNode) => ({
        edges: [{ name: 'node', port }],
        writers: [{ name: 'node', port }],
      })
      let balancer = await startBalancer(kind, only(one))
      t.teardown(async () => {
        await balancer.kill()
        await Promise.all([one.kill(), two.kill()])
        await redis.stop()
      })
      await until('the balancer is up', async () => (await fetch(`${balancer.url}/readyz`)).ok)

      const publisher = launchCommand(balancer.url, 'publish', 'news', '-', '--json')
      const followers = WIRES.map(wire =>
        launchCommand(balancer.url, 'follow', 'news', '--cursor', 'earliest', '--wire', wire),
      )
      t.teardown(() => [publisher, ...followers].forEach(({ child }) => child.kill('SIGKILL')))
      const published: string[] = []
      /** Publishes lines until the change is complete, and 20 more. Returns once all followers have them. */
      const publishDuring = async (what: string, change: () => Promise<unknown>) => {
        let left = Infinity
        const changed = change().then(() => (left = 20))
        for (; left > 0; left--) {
          published.push(JSON.stringify({ what, n: published.length }))
          publisher.child.stdin.write(`${published.at(-1)}\n`)
          await until('the receipt is printed', () => publisher.lines().length === published.length)
        }
        await changed
        for (const [i, { lines }] of followers.entries())
          await until(`${WIRES[i]} has all: ${what}`, () => lines().length >= published.length)
      }

      await publishDuring('start', async () => {})
      await publishDuring('reload', () => balancer.reload(only(two)))
      await publishDuring('the old node stops', () => one.stop())
      await publishDuring('another load balancer', async () => {
        await balancer.stop()
        balancer = await startBalancer(replacement, only(two), { port: balancer.port })
      })
      await publishDuring('restart', async () => {
        await two.kill()
        two = await start(two.port)
      })
      await publishDuring('reload again', async () => {
        one = await start(one.port)
        await balancer.reload(only(one))
      })
      await publishDuring('the node is killed', () => two.kill())

      publisher.child.stdin.end()
      t.equal((await publisher.ended).code, 0)
      for (const [i, { child, ended, lines }] of followers.entries()) {
        child.kill('SIGINT')
        t.equal((await ended).code, 0)
        const followed = lines().map(line => JSON.stringify((JSON.parse(line) as { data: unknown }).data))
        t.equal(sha256(followed), sha256(published), `${WIRES[i]}: ${followed.length} lines`)
      }
    },
  )
}
