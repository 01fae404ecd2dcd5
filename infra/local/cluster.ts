// `npm run cluster`: several nodes behind a load balancer on this machine, without containers. Ctrl-C stops all.

import { parseArgs } from 'node:util'
import { type ProgramName, program } from './packages.ts'
import { type Balancer, type Part, startTopology, type Topology } from './topology.ts'

const HELP = `npm run cluster: Redis, writers, edges and a load balancer on this machine, without containers

Usage: npm run cluster -- [flags]

  --edges N      nodes that clients connect to (3)
  --writers N    nodes that accept publishes (2)
  --lb KIND      nginx, haproxy, both or none (nginx if available, otherwise haproxy, otherwise none)
  --port N       port of the load balancer (8080); with both, HAProxy uses the next one.
                 Edges listen from N+11 on, writers from N+51 on, Redis on N+91
  --verbose      shows every line that the nodes log; without it, only warnings
  -h, --help     this text

Settings of the nodes (FANWIRE_…, LOG_LEVEL) come from the environment. Installed versions of Redis, nginx and HAProxy
are used; otherwise the distribution's packages are unpacked into .cache/, which needs no root.
Ctrl-C stops all parts; a second one kills them at once.
`

const INSTALL = 'install one (apt-get install nginx, or haproxy), or continue without: --lb none'
const LEVELS: Readonly<Record<number, string>> = { 40: 'warn', 50: 'error', 60: 'fatal' }
const COLOURS = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94]

interface Asked {
  readonly edges: number
  readonly writers: number
  readonly lbs: readonly Balancer[]
  readonly port: number
  readonly verbose: boolean
}

function fail(message: string): never {
  process.stderr.write(`cluster: ${message}\n`)
  process.exit(2)
}

function count(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  return fail(`--${name} is ${JSON.stringify(text)}; expected a number from ${least} to ${most}`)
}

async function asked(values: ReturnType<typeof flags>['values']): Promise<Asked> {
  return {
    edges: count('edges', values.edges, 1, 40),
    writers: count('writers', values.writers, 1, 40),
    port: count('port', values.port, 1, 65_000),
    lbs: await balancers(values.lb),
    verbose: values.verbose,
  }
}

function flags() {
  try {
    return parseArgs({
      options: {
        edges: { type: 'string', default: '3' },
        writers: { type: 'string', default: '2' },
        lb: { type: 'string', default: 'any' },
        port: { type: 'string', default: '8080' },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    return fail(`${(error as Error).message}; see --help`)
  }
}

/** Why a program is unavailable; undefined if it is available. */
async function missing(name: ProgramName): Promise<string | undefined> {
  try {
    await program(name)
  } catch (error) {
    return (error as Error).message.split('\n', 1)[0]
  }
}

async function balancers(kind: string): Promise<readonly Balancer[]> {
  if (kind === 'none') return []
  if (kind === 'any') {
    for (const each of ['nginx', 'haproxy'] as const) if ((await missing(each)) === undefined) return [each]
    process.stderr.write(`cluster: there is no load balancer: ${INSTALL}\n`)
    return []
  }
  const wanted: readonly Balancer[] = kind === 'both' ? ['nginx', 'haproxy'] : [kind as Balancer]
  if (!['both', 'nginx', 'haproxy'].includes(kind)) {
    fail(`--lb is ${JSON.stringify(kind)}; expected nginx, haproxy, both or none`)
  }
  for (const each of wanted) {
    const why = await missing(each)
    if (why !== undefined) fail(`${why}\n${INSTALL}`)
  }
  return wanted
}

/** Settings of the nodes, from the environment, except those that the topology sets. */
function settings(verbose: boolean): Record<string, string> {
  const own = new Set(['HOST', 'PORT', 'ROLE', 'REDIS_URL'])
  const given = Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && !own.has(entry[0]) && /^(FANWIRE_\w+|LOG_LEVEL|WORKERS)$/.test(entry[0]),
  )
  // A short drain, so that Ctrl-C stops the cluster quickly.
  return { FANWIRE_DRAIN: '1s', LOG_LEVEL: verbose ? 'info' : 'warn', ...Object.fromEntries(given) }
}

/** Prints the log lines of each part after its name, coloured on a terminal. */
function printer(verbose: boolean): (name: string, line: string) => void {
  const colours = new Map<string, number>()
  return (name, line) => {
    const text = shown(name, line, verbose)
    if (text === undefined) return
    const colour = colours.get(name) ?? COLOURS[colours.size % COLOURS.length] ?? 36
    colours.set(name, colour)
    const label = name.padEnd(9)
    process.stderr.write(`${process.stderr.isTTY ? `\u001b[${colour}m${label}\u001b[0m` : label} ${text}\n`)
  }
}

function shown(name: string, line: string, verbose: boolean): string | undefined {
  if (verbose) return line
  // Shows only errors of Redis and the load balancers, which also log their starts and stops.
  if (name === 'redis') return / # (?!WARNING).*(error|fail|can't|unable)/i.test(line) ? line : undefined
  if (name === 'nginx' || name === 'haproxy') return /\[(alert|emerg|crit)\]/i.test(line) ? line : undefined
  try {
    const { level, msg, reason } = JSON.parse(line)
    return level >= 40 ? [LEVELS[level], msg, reason].filter(Boolean).join(' ') : undefined
  } catch {
    return line
  }
}

function table(rows: readonly (readonly string[])[]): string {
  const width = (column: number) => Math.max(...rows.map(row => row[column]?.length ?? 0))
  const line = (row: readonly string[]) => `  ${row.map((cell, i) => cell.padEnd(width(i))).join('   ')}`
  return rows.map(row => line(row).trimEnd()).join('\n')
}

function welcome({ redis, edges, writers, lbs }: Topology): string {
  const row = (part: Part, what: string) => [part.name, part.url, `pid ${part.pid}`, what]
  const front = lbs[0]
  const [read, write] = [front?.url ?? edges[0]?.url, front?.url ?? writers[0]?.url]
  const key = process.env.FANWIRE_PUBLISH_KEY?.split(',')[0]
  const auth = key === undefined || key === '' ? '' : ` -H "Authorization: Bearer $FANWIRE_PUBLISH_KEY"`
  const event = `-H 'Content-Type: application/json' -d '{"hello":"world"}'`
  return [
    '',
    table([
      ...lbs.map(lb => row(lb, 'load balancer: publish and read here')),
      ...edges.map(edge => row(edge, 'edge: reads')),
      ...writers.map(writer => row(writer, 'writer: publishes')),
      ...(redis === undefined ? [] : [row(redis, 'the log')]),
    ]),
    '',
    `  follow:    curl -N '${read}/v1/sse?channel=news'`,
    `  publish:   curl${auth} ${event} ${write}/v1/channels/news/events`,
    `  stop one:  kill ${edges[0]?.pid}       its clients continue on another edge`,
    '  stop all:  Ctrl-C',
    '',
    '',
  ].join('\n')
}

async function main(): Promise<void> {
  const { values } = flags()
  if (values.help) return void process.stdout.write(HELP)
  const { verbose, ...rest } = await asked(values)
  /** Time of the stop signal, by performance.now(), ms; 0: none yet. */
  let stopping = 0
  let topology: Topology | undefined
  const print = printer(verbose)
  const stop = () => {
    // One Ctrl-C arrives twice: from the terminal, and from npm.
    if (stopping > 0 && performance.now() - stopping < 500) return
    if (stopping > 0 || topology === undefined) process.exit(130)
    stopping = performance.now()
    process.stderr.write('\nstopping all parts\n')
    void topology.close().then(() => process.exit(0))
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  try {
    topology = await startTopology({
      ...rest,
      env: settings(verbose),
      built: true,
      onLine: (name, line) => stopping > 0 || print(name, line),
    })
  } catch (error) {
    fail((error as Error).message)
  }
  for (const part of [...topology.lbs, ...topology.edges, ...topology.writers]) {
    void part.exit.then(({ code, signal }) => stopping > 0 || print(part.name, `exited (${signal ?? code})`))
  }
  process.stdout.write(welcome(topology))
}

await main()
