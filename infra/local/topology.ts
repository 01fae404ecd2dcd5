// Several nodes on this machine, as in a deployment: Redis, writers, edges and load balancers with the files of
// infra/, each as a separate process, all on loopback. `npm run cluster` and the tests start it.

import { readFileSync, rmSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { program } from './packages.ts'
import { freePort } from './ports.ts'
import { type Exit, Process } from './process.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const INFRA = fileURLToPath(new URL('..', import.meta.url))
const HOST = '127.0.0.1'

export type Role = 'edge' | 'writer'
export type Balancer = 'nginx' | 'haproxy'

export interface TopologyOptions {
  /** Numbers of edges and writers; 3 and 2 unless given. */
  readonly edges?: number
  readonly writers?: number
  /** None unless given. */
  readonly lbs?: readonly Balancer[]
  /** The URL of a running Redis. Without it, one with an append-only file is started and stopped with the rest. */
  readonly redisUrl?: string
  /** Settings of every node. Only PATH is inherited. */
  readonly env?: Readonly<Record<string, string>>
  /** Settings of the nodes of one role. */
  readonly edgeEnv?: Readonly<Record<string, string>>
  readonly writerEnv?: Readonly<Record<string, string>>
  /** Settings of one node, by its name; they override those of its role. */
  readonly nodeEnv?: (name: string) => Readonly<Record<string, string>>
  /** The first load balancer's port; the others are derived from it. Without it: any free ports. */
  readonly port?: number
  /** Runs the nodes from dist/ instead of from source: they start faster, but `npm run build` has to run first. */
  readonly built?: boolean
  /** Receives every output line of a part. */
  readonly onLine?: (name: string, line: string) => void
}

/** A part of the topology. It keeps its port and URL across restarts. */
export interface Part {
  /** `edge-1`, `writer-2`, `nginx`, `redis`. */
  readonly name: string
  /** `http://127.0.0.1:<port>` (redis: `redis://…`), without a slash at the end. */
  readonly url: string
  readonly port: number
  /** Process id of the running, or last, process. */
  readonly pid: number
  /** All output lines since its last start, from stdout and stderr. */
  readonly logs: readonly string[]
  /** Whether its process is running. */
  readonly running: boolean
  /** The exit of the running, or last, process. */
  readonly exit: Promise<Exit>
  /** Returns when a matching line has been written since its last start. */
  logged(pattern: RegExp): Promise<string>
  /** Sends a signal without waiting. */
  signal(signal: NodeJS.Signals): void
  /** Requests a stop, SIGTERM unless given, and returns when the process has exited. */
  stop(signal?: NodeJS.Signals): Promise<Exit>
  /** Simulates a lost machine: SIGKILL. */
  kill(): Promise<Exit>
  /** Stops it if it runs, by `signal` (SIGTERM), and starts it on the same port; returns when it is ready. */
  restart(signal?: NodeJS.Signals): Promise<void>
}

export interface NodePart extends Part {
  readonly role: Role
}

export interface BalancerPart extends Part {
  readonly kind: Balancer
  /** Sends new requests to these nodes. Open connections stay with the old ones. Returns before it has taken effect. */
  reload(nodes: Nodes): Promise<void>
}

export interface Topology {
  readonly redisUrl: string
  /** Undefined with an external Redis. */
  readonly redis: Part | undefined
  readonly edges: readonly NodePart[]
  readonly writers: readonly NodePart[]
  readonly lbs: readonly BalancerPart[]
  /** Raises if it was not requested. */
  lb(kind: Balancer): BalancerPart
  /** Stops all parts, load balancers first, by `signal` (SIGTERM), and removes their files. */
  close(signal?: NodeJS.Signals): Promise<void>
}

/** Starts all parts, and returns when every node and load balancer answers. Raises with the output of a failed part. */
export async function startTopology(options: TopologyOptions = {}): Promise<Topology> {
  const { edges = 3, writers = 2, lbs = [] } = options
  const dir = await mkdtemp(join(tmpdir(), 'fanwire-cluster-'))
  const clear = () => rmSync(dir, { recursive: true, force: true })
  process.on('exit', clear)
  const parts: RunningPart[] = []
  const begin = async (part: RunningPart) => {
    parts.push(part)
    await part.start()
    return part
  }
  const close = async (signal?: NodeJS.Signals) => {
    const [redis, nodes, front] = [
      parts.filter(part => part.name === 'redis'),
      parts.filter(part => 'role' in part),
      parts.filter(part => 'kind' in part),
    ]
    for (const group of [front, nodes, redis]) await Promise.all(group.map(part => part.stop(signal)))
    process.off('exit', clear)
    clear()
  }
  try {
    const redis = options.redisUrl === undefined ? await begin(await redisPart(dir, options)) : undefined
    const redisUrl = options.redisUrl ?? (redis as RunningPart).url
    const nodes = await Promise.all(
      [...many('writer', writers), ...many('edge', edges)].map(async ({ role, n }) =>
        begin(await nodePart(role, n, redisUrl, options)),
      ),
    )
    const of = (role: Role) => nodes.filter((node): node is RunningPart & NodePart => node.role === role)
    const where = { edges: of('edge'), writers: of('writer') }
    const balancers: BalancerPart[] = []
    for (const [i, kind] of lbs.entries()) {
      const port = options.port === undefined ? await freePort() : options.port + i
      balancers.push((await begin(await balancerPart(kind, port, dir, where, options))) as BalancerPart)
    }
    return {
      redisUrl,
      redis,
      ...where,
      lbs: balancers,
      lb(kind) {
        const found = balancers.find(each => each.kind === kind)
        if (found === undefined) throw new Error(`${kind} was not requested`)
        return found
      },
      close,
    }
  } catch (error) {
    await close('SIGKILL')
    throw error
  }
}

function many(role: Role, count: number): { role: Role; n: number }[] {
  return Array.from({ length: count }, (_, i) => ({ role, n: i + 1 }))
}

/** How to start a part, any number of times. */
interface Plan {
  readonly name: string
  readonly url: string
  readonly port: number
  readonly role?: Role
  readonly kind?: Balancer
  readonly launch: () => Promise<Process>
  /** Writes its configuration again. */
  readonly configure?: (nodes: Nodes) => Promise<unknown>
}

class RunningPart implements Part {
  readonly name: string
  readonly url: string
  readonly port: number
  declare readonly role?: Role
  declare readonly kind?: Balancer
  readonly #launch: () => Promise<Process>
  readonly #configure: Plan['configure']
  #process: Process | undefined

  constructor({ launch, configure, ...plan }: Plan) {
    this.name = plan.name
    this.url = plan.url
    this.port = plan.port
    if (plan.role !== undefined) this.role = plan.role
    if (plan.kind !== undefined) this.kind = plan.kind
    this.#launch = launch
    this.#configure = configure
  }

  async start(): Promise<void> {
    if (await answers(this.port)) throw new Error(`${this.name}: port ${this.port} of ${HOST} is in use`)
    this.#process = await this.#launch()
  }

  get #running(): Process {
    if (this.#process === undefined) throw new Error(`${this.name} was never started`)
    return this.#process
  }

  get pid(): number {
    return this.#running.pid
  }

  get logs(): readonly string[] {
    return this.#running.lines
  }

  get running(): boolean {
    return this.#process?.ended === false
  }

  get exit(): Promise<Exit> {
    return this.#running.exit
  }

  logged(pattern: RegExp): Promise<string> {
    return this.#running.logged(pattern)
  }

  signal(signal: NodeJS.Signals): void {
    this.#running.signal(signal)
  }

  async stop(signal?: NodeJS.Signals): Promise<Exit> {
    return (await this.#process?.stop(signal)) ?? { code: 0, signal: null }
  }

  kill(): Promise<Exit> {
    return this.stop('SIGKILL')
  }

  async restart(signal?: NodeJS.Signals): Promise<void> {
    await this.stop(signal)
    await this.start()
  }

  async reload(nodes: Nodes): Promise<void> {
    await this.#configure?.(nodes)
    this.signal('SIGHUP')
  }
}

async function redisPart(dir: string, { port, onLine }: TopologyOptions): Promise<RunningPart> {
  const { path, env } = await program('redis')
  const own = port === undefined ? await freePort() : port + 91
  const data = join(dir, 'redis')
  await mkdir(data)
  const settings = {
    port: `${own}`,
    bind: HOST,
    dir: data,
    save: '',
    appendonly: 'yes',
    'maxmemory-policy': 'noeviction',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  return new RunningPart({
    name: 'redis',
    url: `redis://${HOST}:${own}`,
    port: own,
    launch: () =>
      Process.start({
        command: path,
        args,
        env,
        ready: /Ready to accept connections/,
        onLine: line => onLine?.('redis', line),
      }),
  })
}

/** Port base of a role, relative to the load balancer's port. */
const PORTS: Readonly<Record<Role, number>> = { edge: 10, writer: 50 }

async function nodePart(
  role: Role,
  n: number,
  redisUrl: string,
  { env, edgeEnv, writerEnv, nodeEnv, port, built, onLine }: TopologyOptions,
): Promise<RunningPart> {
  const name = `${role}-${n}`
  const own = port === undefined ? await freePort() : port + PORTS[role] + n
  const main = built ? ['dist/services/main.js'] : ['--import', 'tsx', 'services/main.ts']
  return new RunningPart({
    name,
    role,
    url: `http://${HOST}:${own}`,
    port: own,
    launch: () =>
      Process.start({
        command: process.execPath,
        args: main,
        cwd: ROOT,
        env: {
          PATH: process.env.PATH,
          HOST,
          PORT: `${own}`,
          ROLE: role,
          REDIS_URL: redisUrl,
          ...env,
          ...(role === 'edge' ? edgeEnv : writerEnv),
          ...nodeEnv?.(name),
        },
        // A node listens only once it can deliver events.
        ready: () => answers(own),
        onLine: line => onLine?.(name, line),
      }),
  })
}

/** What a load balancer needs to know about a node. */
export type Upstream = Pick<Part, 'name' | 'port'>

export interface Nodes {
  readonly edges: readonly Upstream[]
  readonly writers: readonly Upstream[]
  /** Set if the nodes use TLS: the file of the CA that signed their certificates, for the name `fanwire`. */
  readonly ca?: string
}

/** A load balancer alone, in front of any servers at the given ports of 127.0.0.1. `stop` removes its files. */
export async function startBalancer(
  kind: Balancer,
  nodes: Nodes,
  options: Pick<TopologyOptions, 'port' | 'onLine'> = {},
): Promise<BalancerPart> {
  const dir = await mkdtemp(join(tmpdir(), 'fanwire-balancer-'))
  const part = await balancerPart(kind, options.port ?? (await freePort()), dir, nodes, options)
  await part.start()
  void part.exit.then(() => rm(dir, { recursive: true, force: true }))
  return part as BalancerPart
}

async function balancerPart(
  kind: Balancer,
  port: number,
  dir: string,
  nodes: Nodes,
  { onLine }: TopologyOptions,
): Promise<RunningPart> {
  const { path, env } = await program(kind)
  const place = join(dir, kind)
  await mkdir(place)
  const configure = (nodes: Nodes) => (kind === 'nginx' ? nginx : haproxy)(place, port, nodes)
  const { args, more } = await configure(nodes)
  return new RunningPart({
    name: kind,
    kind,
    url: `http://${HOST}:${port}`,
    port,
    configure,
    launch: () =>
      Process.start({
        command: path,
        args,
        env: { ...env, ...more },
        ready: () => answers(port),
        onLine: line => onLine?.(kind, line),
      }),
  })
}

interface Command {
  readonly args: readonly string[]
  readonly more: NodeJS.ProcessEnv
}

/** nginx.conf, with only its port changed, and with generated node addresses and file paths. */
async function nginx(place: string, port: number, nodes: Nodes): Promise<Command> {
  const upstream = (name: string, parts: readonly Upstream[]) => {
    const written = infra('nginx-nodes.conf')
    const block = new RegExp(`upstream ${name} \\{[^}]*\\}`).exec(written)?.[0] ?? ''
    const [server = ''] = /^ *server .*\n/m.exec(block) ?? []
    const servers = parts.map(part => server.replace(/[\w.-]+:8080/, `${HOST}:${part.port}`)).join('')
    return block.replace(/(^ *server .*\n)+/m, servers)
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  await writeFile(
    join(place, 'nginx-nodes.conf'),
    [
      upstream('edges', nodes.edges),
      upstream('edges_by_client', nodes.edges),
      upstream('writers', nodes.writers),
      ...temporary.map(name => `${name}_temp_path ${join(place, name)};`),
    ].join('\n'),
  )
  const conf = infra('nginx.conf').replace(/^( *)listen 8080;$/m, `$1listen ${HOST}:${port};`)
  await writeFile(
    join(place, 'nginx.conf'),
    nodes.ca === undefined
      ? conf
      : conf
          .replace(/# (?=proxy_ssl_)/g, '')
          .replace('nodes-ca.pem;', `${nodes.ca};`)
          .replace(/(?<=proxy_pass )http:/g, 'https:'),
  )
  const own = [`daemon off`, `pid ${join(place, 'nginx.pid')}`]
  // Run by root, nginx would serve as another user, who cannot write here.
  if (process.getuid?.() === 0) own.push(`user ${userInfo().username}`)
  return {
    args: ['-p', place, '-c', join(place, 'nginx.conf'), '-e', 'stderr', '-g', `${own.join('; ')};`],
    more: {},
  }
}

/** haproxy.cfg unchanged, with generated node addresses. */
async function haproxy(place: string, port: number, nodes: Nodes): Promise<Command> {
  const written = infra('haproxy-nodes.cfg')
  const backend = (name: string, parts: readonly Upstream[]) => {
    const [head = ''] = new RegExp(`^backend ${name} .*\\n(?: {4}(?!server).*\\n)*`, 'm').exec(written) ?? []
    return `${head}${parts.map(part => `    server ${part.name} ${HOST}:${part.port}\n`).join('')}`
  }
  const file = join(place, 'haproxy-nodes.cfg')
  await writeFile(
    file,
    [
      backend('edges', nodes.edges),
      backend('edges_by_client', nodes.edges),
      backend('writers', nodes.writers),
    ].join('\n'),
  )
  let cfg = join(INFRA, 'haproxy.cfg')
  if (nodes.ca !== undefined) {
    const conf = infra('haproxy.cfg').replace(/# (?=default-server ssl )/, '')
    cfg = join(place, 'haproxy.cfg')
    await writeFile(cfg, conf.replace(/nodes-ca\.pem$/m, nodes.ca))
  }
  return {
    // -W: a master process, which reloads on SIGHUP, and a worker.
    args: ['-W', '-db', '-f', cfg, '-f', file],
    more: { FANWIRE_BIND: `${HOST}:${port}` },
  }
}

function infra(file: string): string {
  return readFileSync(join(INFRA, file), 'utf8')
}

/** Whether a server accepts connections on the port. */
async function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, HOST)
    const settle = (yes: boolean) => {
      socket.destroy()
      resolve(yes)
    }
    socket.once('connect', () => settle(true)).once('error', () => settle(false))
  })
}
