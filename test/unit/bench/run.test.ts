// If `fanwire bench` cannot measure, it reports the fault and what to do, and exits with 2 or 3.

import { readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import t from 'tap'
import { Misused, readOptions } from '../../../bench/run/options.ts'
import { processesFor } from '../../../bench/run/limits.ts'
import { exceeded, type Outcome, outcomeOf } from '../../../bench/run/outcome.ts'
import { runNode, startNode } from '../../support/node.ts'

const ROOT = join(import.meta.dirname, '../../..')
const URL = 'http://127.0.0.1:8080'
const KEY = 'for-the-bench'
const CONNECTED = { opened: 2, failed: 0, reason: '' }

const bench = (args: readonly string[]) => runNode({ args: ['bench', ...args], within: 60_000 })

/** Errors about invalid options. */
function faultsOf(args: readonly string[]): string {
  try {
    readOptions(args, {})
    return ''
  } catch (error) {
    if (error instanceof Misused) return error.message
    throw error
  }
}

t.test('every fault in the options is reported', async t => {
  const faults = faultsOf(['--url', 'nowhere', '--wire', 'sse,carrier-pigeon', '--clients', '0'])
  t.strictSame(
    faults.split('\n').map(line => line.split(':', 1)[0]),
    ['--url nowhere', '--wire carrier-pigeon', '--clients 0'],
  )
  t.match(faultsOf([]), '--url is missing')
  t.match(faultsOf(['--urls', 'x']), '--urls')
  t.match(faultsOf(['--url', URL, '--channels', '9', '--clients', '8']), 'more than the 8 clients')
  t.match(faultsOf(['--url', URL, '--size', '10']), '--size 10')
  t.match(faultsOf(['--url', URL, '--max-p99', 'fast']), '--max-p99 fast')
  t.match(faultsOf(['--url', URL, '--rate', '1000000', '--duration', '1000']), '--rate and --duration')
  const secret = faultsOf(['--url', URL, '--header', 'Authorization Bearer geheim'])
  t.match(secret, '--header')
  t.notMatch(secret, 'geheim')
  t.equal(faultsOf(['--url', URL]), '')
})

t.test('limits of the machine are reported before the run', async t => {
  const options = (args: readonly string[]) => {
    const found = readOptions(['--url', URL, ...args], {})
    if (found === undefined) throw new Error('help')
    return found
  }
  const allowed = { files: 1024, ports: 28_000 }
  t.equal(
    processesFor(options(['--clients', '4000', '--wire', 'ws']), allowed),
    5,
    'a process has fewer clients than it may open files',
  )
  t.match(processesFor(options(['--clients', '4000', '--processes', '2']), allowed), /--processes 5/)
  t.match(processesFor(options(['--clients', '15000']), allowed), /ip_local_port_range/)
  t.type(processesFor(options(['--clients', '15000', '--url', 'http://127.0.0.2:8080']), allowed), 'number')
})

t.test('exceeded thresholds are reported with their wire', async t => {
  const tally = {
    ...{ clients: 2, open: 2, received: 19, missing: 0, repeated: 1, reordered: 0, gaps: 0, requests: 0 },
    ...{ empty: 0, bytesIn: 1, bytesOut: 1, cut: 0, resumed: 0, lastAt: 0, cpu: 0 },
    errors: { ECONNRESET: 2 },
    latency: [[1000, 18] as const, [90_000, 1] as const],
    answering: [],
  }
  const wire = outcomeOf('sse', { opened: 1, failed: 1, reason: 'x' }, tally, 20, 2)
  t.match(wire, { clients: 2, expected: 20, delivered: 19, lost: 2, deliveriesPerSecond: 9.5 })
  const outcome: Outcome = {
    ...{ events: 10, seconds: 2, publishesFailed: 0, publisherLate: 0, notes: [] },
    wires: [wire],
  }
  t.strictSame(exceeded(outcome, {}), [])
  const none = { maxP50: 2, maxP99: 100, maxLost: 2, maxRepeated: 1, maxErrors: 3 }
  t.strictSame(exceeded(outcome, none), [])
  const all = exceeded(outcome, { maxP50: 0.5, maxP99: 50, maxLost: 1, maxRepeated: 0, maxErrors: 2 })
  t.strictSame(
    all.map(each => each.split(' ', 2).join(' ')),
    ['sse: p50', 'sse: p99', 'sse: lost', 'sse: repeated', 'sse: errors'],
  )
  const silent = {
    ...outcome,
    wires: [outcomeOf('ws', CONNECTED, { ...tally, received: 0, latency: [] }, 20, 2)],
  }
  t.match(exceeded(silent, { maxP99: 50 }), [/not measured/], 'a run without events is not a success')
})

t.test('an impossible run exits with 3 and says what to do', async t => {
  const node = await startNode({ env: { FANWIRE_PUBLISH_KEY: KEY } })
  t.teardown(() => node.kill())
  t.match(await bench(['--url', 'http://127.0.0.1:1']), { code: 3, output: /refused: nothing listens there/ })
  t.match(await bench(['--url', node.url]), { code: 3, output: /FANWIRE_PUBLISH_KEY or give --publish-key/ })
  t.match(await bench(['--url', node.url, '--publish-key', 'wrong']), {
    code: 3,
    output: /not one of its keys/,
  })
  t.match(await bench(['--url', node.url.replace('http', 'https')]), {
    code: 3,
    output: /begins with http or https/,
  })
  t.match(await bench(['--url', node.url, '--wire', 'push', '--rate', '0']), {
    code: 3,
    output: /needs HTTP\/2/,
  })
  t.match(await bench(['--url', node.url, '--clients', '1000000']), {
    code: 3,
    output: /ip_local_port_range/,
  })
})

t.test('wrong options exit with 2, and help with 0', async t => {
  t.match(await bench(['--url', 'nowhere']), { code: 2, output: /see fanwire bench --help/ })
  t.match(await bench(['--help']), { code: 0, output: /fanwire bench --url/ })
})

t.test('all imports of the built command are inputs of the build, so that a change triggers it', async t => {
  const config = JSON.parse(readFileSync(join(ROOT, 'bench/tsconfig.build.json'), 'utf8')) as {
    include: string[]
  }
  const inputs = config.include.map(each => `bench/${each}`)
  const isInput = (path: string) => inputs.some(each => path === each || path.startsWith(`${each}/`))
  const seen = new Set<string>()
  const visit = (path: string) => {
    if (seen.has(path)) return
    seen.add(path)
    for (const [, of] of readFileSync(join(ROOT, path), 'utf8').matchAll(/ from '(\.[^']+\.ts)'/g)) {
      visit(posix.join(posix.dirname(path), of as string))
    }
  }
  for (const path of ['bench/run.ts', 'bench/plan.ts', 'bench/load/load.ts', 'bench/load/publisher.ts'])
    visit(path)
  t.strictSame(
    [...seen].filter(path => !isInput(path)),
    [],
  )
})
