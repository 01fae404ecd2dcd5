// The capacity model: more load never needs less, no resource runs short, and the command reports faults.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { costAt, type Costs, wireCosts } from '../../../bench/transports/costs.ts'
import {
  DEFAULTS,
  type Demand,
  ImpossiblePlan,
  plan,
  reached,
  RESOURCES,
} from '../../../bench/transports/model.ts'
import { planMarkdown, printed } from '../../../bench/transports/plan-text.ts'
import { synthetic } from './transports-result.ts'

const MAIN = join(import.meta.dirname, '../../../dist/services/main.js')

const costs: Costs = {
  machine: 'a machine',
  node: '20.20.2',
  date: '2026-11-21T10:00:00.000Z',
  commands: ['npm run bench'],
  size: 100,
  nodeMemory: 90e6,
  channelMemory: 1700,
  publish: 210,
  event: 60,
  comeback: 3000,
  redis: { event: 28, message: 5, channelMemory: 4700, eventMemory: 190 },
  wires: wireCosts(synthetic()),
}

const base: Demand = { ...DEFAULTS, clients: 1, size: 100 }

/** Whole numbers from 1 to `upto`, spread on a logarithmic scale. */
const scale = (upto: number) =>
  fc.double({ min: 0, max: Math.log10(upto), noNaN: true }).map(power => Math.round(10 ** power))

const demands = fc.record({
  clients: scale(1e8),
  channels: scale(1e8),
  rate: scale(1e4),
  wire: fc.constantFrom(...(Object.keys(costs.wires) as Demand['wire'][])),
  every: fc.integer({ min: 1, max: 60 }),
  size: scale(1e5),
  utilisation: fc.double({ min: 0.1, max: 1, noNaN: true }),
  coresPerNode: fc.integer({ min: 1, max: 8 }),
  memoryPerNode: fc.integer({ min: 64, max: 256 }),
  connectionsPerProcess: scale(1e6),
})
const asked = demands.map(each => ({ ...base, ...each }))

function possible(demand: Demand): ReturnType<typeof plan> | undefined {
  try {
    return plan(demand, costs)
  } catch (error) {
    if (error instanceof ImpossiblePlan) return undefined
    throw error
  }
}

t.test('more clients or more events never need fewer resources', async () => {
  fc.assert(
    fc.property(
      asked,
      fc.constantFrom('clients', 'rate'),
      fc.integer({ min: 1, max: 1000 }),
      (demand, of, times) => {
        const less = plan(demand, costs)
        const more = possible({ ...demand, [of]: demand[of] * times })
        // No number of nodes is sufficient.
        if (more === undefined) return true
        for (const resource of RESOURCES) if (more.needs[resource] < less.needs[resource]) return false
        return (
          more.processes >= less.processes &&
          more.edges >= less.edges &&
          more.writers >= less.writers &&
          more.redis.shards >= less.redis.shards &&
          more.redis.memory >= less.redis.memory &&
          more.gbitOut >= less.gbitOut
        )
      },
    ),
  )
})

t.test('no resource runs short, even when one node is lost', async () => {
  fc.assert(
    fc.property(asked, demand => {
      const found = plan(demand, costs)
      const left = (found.edges - 1) * demand.coresPerNode
      const memory = ((demand.memoryPerNode * 2 ** 30) / demand.coresPerNode) * demand.utilisation
      return (
        RESOURCES.every(resource => found.processes >= found.needs[resource]) &&
        found.processes === found.needs[found.binds] &&
        left >= found.processes &&
        demand.clients / left <= demand.connectionsPerProcess &&
        found.each.cpu <= demand.utilisation + 1e-9 &&
        found.each.memory <= memory + 1 &&
        found.redis.cpu <= found.redis.shards
      )
    }),
  )
})

t.test('the number of nodes is a fixed point: one node fewer would not suffice', async () => {
  fc.assert(
    fc.property(asked, demand => {
      const { needs, eventsPerClient } = plan(demand, costs)
      const wire = costs.wires[demand.wire]
      if (wire === undefined || demand.wire === 'long-poll' || wire.timed) return true
      const clients = demand.clients * costAt(wire.points, eventsPerClient).cpu
      const used = (processes: number) =>
        clients + demand.rate * reached(processes, demand.clients / demand.channels) * costs.event
      const can = (processes: number) => processes * demand.utilisation * 1e6
      const { CPU } = needs
      return used(CPU) <= can(CPU) && (CPU === 1 || used(CPU - 1) > can(CPU - 1))
    }),
  )
})

t.test('readers are on at most as many nodes as there are nodes or readers', async t => {
  t.equal(reached(1, 5), 1)
  t.ok(Math.abs(reached(2, 2) - 1.5) < 1e-12)
  t.ok(Math.abs(reached(10, 1) - 1) < 1e-12)
  t.ok(reached(1000, 1e9) <= 1000)
  fc.assert(
    fc.property(scale(1e6), scale(1e6), (nodes, readers) => {
      const found = reached(nodes, readers)
      return (
        found <= nodes && found <= readers + 1e-9 && found > 0 && reached(nodes + 1, readers) >= found - 1e-9
      )
    }),
  )
})

t.test('a small load needs one node, and one spare', async t => {
  const { processes, edges, writers, redis } = plan({ ...base, clients: 10 }, costs)
  t.same([processes, edges, writers, redis.shards], [1, 2, 2, 1])
})

t.test('each resource can be the limiting one', async t => {
  const busy = { ...base, clients: 1e5, channels: 1, rate: 50 }
  t.equal(plan(busy, costs).binds, 'CPU')
  t.equal(
    plan({ ...base, clients: 1e6, rate: 0.001, connectionsPerProcess: 1e6, memoryPerNode: 3 }, costs).binds,
    'memory',
  )
  t.equal(plan({ ...base, clients: 1e6, rate: 0.001 }, costs).binds, 'connections')
  t.equal(plan({ ...busy, size: 1e5, networkPerNode: 1 }, costs).binds, 'network')
})

t.test('costs come from valid single-node cells, ascend, and extrapolate in proportion', async t => {
  const { sse, poll, stream } = wireCosts(
    synthetic(cell => (cell.line.wire === 'sse' && cell.rate === 10 ? { cpuPerClient: 0 } : {})),
  )
  const cpu = sse?.points.map(point => point.cpu) ?? []
  t.same(
    cpu,
    cpu.toSorted((a, b) => a - b),
    'a cell whose cost falls with more events is noise',
  )
  t.same(
    poll?.points.map(({ events }) => events),
    [0, 0, 1, 5, 10, 50, 100, 500],
    'costs by events per response',
  )
  t.equal(stream?.memory, 6.3)
  const points = [
    { events: 0, cpu: 1, in: 0, out: 0 },
    { events: 10, cpu: 11, in: 100, out: 0 },
  ]
  t.same(costAt(points, 5), { cpu: 6, in: 50, out: 0 })
  t.same(costAt(points, 100), { cpu: 110, in: 1000, out: 0 })
  t.same(costAt(points.slice(1), 1), { cpu: 11, in: 100, out: 0 })
  const full = wireCosts(synthetic(() => ({ saturated: { by: 'server', ceiling: 1 } })))
  t.same(full, {})
  const borrowed = wireCosts(
    synthetic(cell => (cell.line.wire === 'ws' && cell.rate === 0 ? { missing: 1 } : {})),
  )
  t.equal(borrowed.ws?.idleOf, 'sse')
})

t.test('impossible plans are rejected', async t => {
  t.throws(() => plan(base, { ...costs, wires: {} }), /the cost of ws was not measured/)
  t.throws(() => plan({ ...base, memoryPerNode: 1 }, costs), /--memory-per-node/)
})

t.test('the output states the request, the limiting resource and the assumptions', async t => {
  const text = printed(plan({ ...base, clients: 1e6, channels: 1e5, rate: 200 }, costs), costs)
  t.match(
    text,
    /200 events\/s are published over all channels together, each read by clients \/ channels = 10 clients/,
  )
  t.match(text, /bound by connections/)
  t.match(text, /Assumed:/)
  t.notMatch(text, /undefined|NaN|Infinity/)
  const shown = planMarkdown(costs)
  t.match(shown, /100 million clients/)
  t.match(shown, /fanwire plan --clients 1000000 --channels 100000 --rate 1000 --wire ws/)
  t.match(shown, /Extrapolated, not measured/)
})

t.test('the built command prints a plan, and reports wrong options', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'fanwire-plan-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'costs.json')
  writeFileSync(file, JSON.stringify(costs))
  const run = (...args: string[]) =>
    new Promise<{ code: number; out: string; err: string }>(resolve => {
      execFile(process.execPath, [MAIN, 'plan', ...args], (error, out, err) => {
        resolve({ code: error === null ? 0 : Number(error.code), out, err })
      })
    })
  const json = await run(
    '--clients',
    '1000000',
    '--channels',
    '100000',
    '--rate',
    '200',
    '--results',
    file,
    '--json',
  )
  t.equal(json.code, 0, json.err)
  t.equal(JSON.parse(json.out).processes, 50)
  t.match((await run('--help')).out, /--channels-per-client/)

  const wrong: readonly (readonly [string[], RegExp])[] = [
    [[], /--clients takes a whole number/],
    [['--clients', '0'], /--clients takes .* not '0'/],
    [['--clients', '1.5'], /--clients/],
    [['--clients', '1e99'], /--clients/],
    [['--clients', '5', '--rate', 'x'], /--rate/],
    [['--clients', '5', '--wire', 'fax'], /--wire takes one of poll, .* not 'fax'/],
    [['--clients', '5', '--utilisation', '2'], /--utilisation/],
    [['--clients', '5', '--channels-per-client', '2'], /--channels-per-client/],
    [['--clients', '5', '--results', join(dir, 'none')], /ENOENT/],
    [['--bogus'], /--bogus/],
    [['stray'], /stray/],
  ]
  for (const [args, message] of wrong) {
    const { code, out, err } = await run(...args)
    t.equal(code, 2, args.join(' '))
    t.equal(out, '')
    t.match(err, message)
    t.match(err, /^fanwire plan: /)
  }
})
