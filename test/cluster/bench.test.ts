// `fanwire bench` as users run it: against a node and against a cluster behind nginx, with its exit codes.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { program } from '../../infra/local/packages.ts'
import { startTopology } from '../../infra/local/topology.ts'
import { BUILT, type Exit, launch, runNode, startNode } from '../support/node.ts'
import { temporaryFolder } from '../support/tools.ts'

const KEY = 'for-the-bench'
const FEW = ['--clients', '6', '--rate', '20', '--duration', '1']

interface Result {
  readonly ok: boolean
  readonly events: number
  readonly wires: readonly {
    wire: string
    clients: number
    delivered: number
    lost: number
    repeated: number
  }[]
  readonly nodes?: { readonly cpuPerDelivery: number }
}

const bench = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  runNode({ args: ['bench', ...args], env, within: 200_000 })

const folder = temporaryFolder()
let files = 0

/** Runs a bench that must succeed, and returns its result. */
async function resultOf(args: readonly string[], env?: Readonly<Record<string, string>>) {
  const out = join(folder, `${++files}.json`)
  const end = await bench([...args, '--out', out], env)
  const result = JSON.parse(await readFile(out, 'utf8')) as Result
  return { ...end, result }
}

const node = await startNode({
  env: { FANWIRE_PUBLISH_KEY: KEY, FANWIRE_SOCKET_IO: '1', FANWIRE_H2C_PORT: '0' },
})
t.teardown(() => node.kill())
const h2c = /"address":"([^"]+)","msg":"cleartext/.exec(await node.logged(/cleartext HTTP\/2/))?.[1] ?? ''

t.test('every wire against one node: each event arrives once', async t => {
  const wires = ['poll', 'long-poll', 'sse', 'stream', 'ws', 'refresh', 'socket.io']
  const { code, output, result } = await resultOf(
    ['--url', node.url, '--wire', wires.join(','), ...FEW, '--channels', '2', '--metrics', node.url],
    { FANWIRE_PUBLISH_KEY: KEY },
  )
  t.equal(code, 0, output)
  t.equal(result.events, 20)
  t.strictSame(
    result.wires.map(({ wire, clients, delivered, lost, repeated }) => ({
      wire,
      clients,
      delivered,
      lost,
      repeated,
    })),
    wires.map(wire => ({ wire, clients: 6, delivered: 60, lost: 0, repeated: 0 })),
  )
  t.ok((result.nodes?.cpuPerDelivery ?? 0) > 0, 'the node reports its CPU time per delivery')
  for (const wire of wires) t.match(output, new RegExp(`^\\| ${wire} `, 'm'))
  t.notMatch(output + JSON.stringify(result), KEY)
})

t.test('push over cleartext HTTP/2', async t => {
  const args = ['--url', h2c, '--publish-url', node.url, '--publish-key', KEY, '--wire', 'push', ...FEW]
  const { code, output, result } = await resultOf(args)
  t.equal(code, 0, output)
  t.match(result.wires, [{ wire: 'push', delivered: 120, lost: 0 }])
})

t.test('idle connections', async t => {
  const { code, output, result } = await resultOf([
    '--url',
    node.url,
    '--wire',
    'sse',
    '--rate',
    '0',
    '--duration',
    '1',
  ])
  t.equal(code, 0, output)
  t.match(result, { events: 0, wires: [{ clients: 100, open: 100, delivered: 0, lost: 0 }] })
})

t.test('an exceeded threshold is reported, and the exit code is 1', async t => {
  const args = ['--url', node.url, '--publish-key', KEY, '--wire', 'ws', ...FEW]
  const { code, output, result } = await resultOf([...args, '--max-p99', '0', '--max-lost', '0'])
  t.equal(code, 1)
  t.match(output, /^EXCEEDED {2}ws: p99 .* ms, more than 0 ms$/m)
  t.notMatch(output, /lost .* more than/)
  t.equal(result.ok, false)
  t.equal((await bench([...args, '--max-p99', '60000', '--max-lost', '0', '--max-repeated', '0'])).code, 0)
})

t.test('Ctrl-C stops the test and prints the result so far', async t => {
  const args = ['bench', '--url', node.url, '--publish-key', KEY, '--rate', '50', '--duration', '600']
  const { child, exit, logged, logs } = launch({ args })
  await logged(/^loading /)
  child.kill('SIGINT')
  t.match(await exit, { code: 0 } satisfies Partial<Exit>)
  t.match(logs.join('\n'), /^\| ws .*\n(.*\n)*note: ended early/m)
})

const nginx = await program('nginx').then(
  () => false,
  () => 'nginx is not installed',
)
t.test('behind nginx, two nodes', { skip: nginx }, async t => {
  const topology = await startTopology({ edges: 2, writers: 1, lbs: ['nginx'], built: BUILT })
  t.teardown(() => topology.close('SIGKILL'))
  const wires = ['poll', 'long-poll', 'sse', 'stream', 'ws', 'refresh']
  const { code, output, result } = await resultOf([
    ...['--url', topology.lb('nginx').url, '--wire', wires.join(','), ...FEW],
    ...['--processes', '1', '--max-lost', '0', '--max-repeated', '0', '--max-errors', '0'],
  ])
  t.equal(code, 0, output)
  t.match(
    result.wires,
    wires.map(wire => ({ wire, delivered: 120 })),
  )
})
