// fanwire plan: the nodes, memory, Redis and network that a number of clients, channels and events needs.

import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { WIRES, type WireName } from './load/order.ts'
import { type Costs, wireCosts } from './transports/costs.ts'
import { DEFAULTS, type Demand, ImpossiblePlan, plan } from './transports/model.ts'
import { assumptions, printed } from './transports/plan-text.ts'
import type { TransportsResult } from './transports/result.ts'

/** The command was misused; the same exit code as in services/main.ts. */
const MISUSED = 2

/** Possible places: in the folder of the sources, or, in the package, one folder above dist/. */
const COSTS = ['./results/costs.json', '../results/costs.json'].map(path =>
  fileURLToPath(new URL(path, import.meta.url)),
)

const HELP = `fanwire plan --clients N [options]: the nodes, memory, Redis and network that a deployment needs,
from the costs measured by the benchmark

  --clients N                  concurrently connected clients
  --channels N                 channels followed by the clients (${DEFAULTS.channels})
  --rate N                     published events/s, over ALL channels together (${DEFAULTS.rate});
                               each event reaches clients × channels-per-client / channels clients
  --channels-per-client N      channels per client (${DEFAULTS.channelsPerClient})
  --wire NAME                  the clients' wire: ${WIRES.join(', ')} (${DEFAULTS.wire})
  --size BYTES                 size of an event's data (as measured)
  --every SECONDS              poll, refresh: time between two requests of a client (${DEFAULTS.every})
  --utilisation SHARE          usable share of cores, memory and links, 0 to 1 (${DEFAULTS.utilisation})
  --cores-per-node N           cores of a node (${DEFAULTS.coresPerNode})
  --memory-per-node GIB        memory of a node (${DEFAULTS.memoryPerNode})
  --network-per-node GBIT      network link of a node (${DEFAULTS.networkPerNode})
  --connections-per-process N  maximum connections of a process (${DEFAULTS.connectionsPerProcess})
  --results FILE               costs: transports.json of npm run bench, or costs.json (included in fanwire)
  --json                       prints the plan as JSON
`

const text = (value: string | number) => ({ type: 'string', default: String(value) }) as const

const options = {
  clients: { type: 'string' },
  channels: text(DEFAULTS.channels),
  rate: text(DEFAULTS.rate),
  'channels-per-client': text(DEFAULTS.channelsPerClient),
  wire: text(DEFAULTS.wire),
  size: { type: 'string' },
  every: text(DEFAULTS.every),
  utilisation: text(DEFAULTS.utilisation),
  'cores-per-node': text(DEFAULTS.coresPerNode),
  'memory-per-node': text(DEFAULTS.memoryPerNode),
  'network-per-node': text(DEFAULTS.networkPerNode),
  'connections-per-process': text(DEFAULTS.connectionsPerProcess),
  results: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

class Misuse extends Error {}

interface Range {
  readonly from: number
  readonly upto?: number
  readonly whole?: true
}

const COUNT: Range = { from: 1, upto: 1e12, whole: true }

function inRange(name: string, text: string | undefined, { from, upto = 1e12, whole }: Range): number {
  const value = text === undefined || text.trim() === '' ? Number.NaN : Number(text)
  if (value >= from && value <= upto && (whole === undefined || Number.isInteger(value))) return value
  const kind = whole === undefined ? 'a number' : 'a whole number'
  throw new Misuse(
    `--${name} takes ${kind} from ${from} to ${upto}${text === undefined ? '' : `, not '${text}'`}`,
  )
}

function wireOf(text: string): WireName {
  const found = WIRES.find(wire => wire === text)
  if (found === undefined) throw new Misuse(`--wire takes one of ${WIRES.join(', ')}, not '${text}'`)
  return found
}

function read(): ReturnType<typeof parsed> {
  try {
    return parsed()
  } catch (error) {
    throw new Misuse(error instanceof Error ? error.message : String(error))
  }
}

const parsed = () => parseArgs({ args: process.argv.slice(2), options }).values

/** The demand that the options describe. `size` is undefined by default, for the measured size. */
function demandOf(
  values: ReturnType<typeof parsed>,
): Omit<Demand, 'size'> & { readonly size: number | undefined } {
  const demand = {
    clients: inRange('clients', values.clients, COUNT),
    channels: inRange('channels', values.channels, COUNT),
    rate: inRange('rate', values.rate, { from: 0 }),
    wire: wireOf(values.wire),
    channelsPerClient: inRange('channels-per-client', values['channels-per-client'], COUNT),
    size:
      values.size === undefined
        ? undefined
        : inRange('size', values.size, { from: 0, upto: 2 ** 20, whole: true }),
    every: inRange('every', values.every, { from: 0.1, upto: 3600 }),
    utilisation: inRange('utilisation', values.utilisation, { from: 0.01, upto: 1 }),
    coresPerNode: inRange('cores-per-node', values['cores-per-node'], { ...COUNT, upto: 1024 }),
    memoryPerNode: inRange('memory-per-node', values['memory-per-node'], { from: 0.1, upto: 1e5 }),
    networkPerNode: inRange('network-per-node', values['network-per-node'], { from: 0.001, upto: 1e5 }),
    connectionsPerProcess: inRange('connections-per-process', values['connections-per-process'], COUNT),
  }
  if (demand.channelsPerClient > demand.channels) {
    throw new Misuse(`--channels-per-client cannot exceed --channels (${demand.channels})`)
  }
  return demand
}

function json(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new Misuse(`${file}: ${error instanceof Error ? error.message : error}`)
  }
}

/** The costs in `file`. Parts that it lacks are taken from the package. */
function costsOf(file: string | undefined): Costs {
  const own = COSTS.find(path => existsSync(path))
  const shipped = own === undefined ? undefined : (json(own) as Costs)
  const given = file === undefined ? undefined : (json(file) as Partial<TransportsResult> & Partial<Costs>)
  if (given?.wires !== undefined && given.redis !== undefined) return given as Costs
  if (shipped === undefined)
    throw new Misuse('no costs were measured yet: npm run bench, then npm run bench:costs')
  if (given === undefined) return shipped
  if (!Array.isArray(given.cells)) throw new Misuse(`${file}: neither transports.json nor costs.json`)
  const measured = given as TransportsResult
  const { machine, node, date, size } = measured
  return {
    ...shipped,
    machine,
    node,
    date,
    size,
    wires: wireCosts(measured),
    commands: [measured.command, ...shipped.commands.slice(1)],
  }
}

function main(): void {
  const values = read()
  if (values.help) return void process.stdout.write(HELP)
  const asked = demandOf(values)
  const costs = costsOf(values.results)
  const demand = { ...asked, size: asked.size ?? costs.size }
  const found = plan(demand, costs)
  const text = values.json
    ? JSON.stringify({ ...found, assumptions: assumptions(demand, costs) }, null, 2)
    : printed(found, costs)
  process.stdout.write(`${text}\n`)
}

try {
  main()
} catch (error) {
  if (!(error instanceof Misuse || error instanceof ImpossiblePlan)) throw error
  process.stderr.write(`fanwire plan: ${error.message}\n`)
  process.exitCode = MISUSED
}
