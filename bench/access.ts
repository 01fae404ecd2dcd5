// npm run bench:access measures the cost of authenticating a client: the CPU time of a WebSocket connection with each
// kind of credentials, compared with a connection without credentials; with --memory also the memory. The nodes run in
// separate processes; this process signs the tokens, one per user, and connects. Only differences within a round are
// meaningful.

import { type ChildProcess, spawn } from 'node:child_process'
import { createPublicKey, verify } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { AUDIENCE, caps, ClosedWorld, ISSUER } from '../test/support/closed-node.ts'
import { signToken, userClaims } from '../test/support/tokens.ts'
import { median } from './figures.ts'
import { intoFile, ROOT } from './files.ts'
import { machine } from './report.ts'

const HELP = `npm run bench:access -- [options]

Measures what credentials add to the cost of a WebSocket connection. Takes about a minute.

  --rounds N  rounds of 200 connections of each kind; medians count (40)
  --memory    also measure memory, which takes two minutes more
  --docs      write the table into docs/access.md
`

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '40' },
    memory: { type: 'boolean', default: false },
    docs: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
const ROUNDS = Number(options.rounds)
const WARM_UP = 10
/** Connections of each kind per round; below, connections whose memory is measured. */
const CONNECTIONS = 200
const REMEMBERED = 3000
const AT_ONCE = 20
/** A node forgets a verified token this long after its last use. */
const FORGOTTEN_MS = 65_000

const world = new ClosedWorld()
const grants = { caps: caps('open:*', 'sub') }
const known = signToken(world.hs, userClaims('known', grants))
let users = 0
const KINDS = {
  'no token': () => undefined,
  HS256: () => signToken(world.hs, userClaims(`user-${++users}`, grants)),
  ES256: () => signToken(world.es, userClaims(`user-${++users}`, { ...grants, iss: ISSUER, aud: AUDIENCE })),
  'HS256, verified before': () => known,
  'API key': () => world.keys.all.key,
} as const
type Kind = keyof typeof KINDS
const NAMES: Readonly<Record<Kind, string>> = {
  'no token': '',
  HS256: 'a new token, HS256',
  ES256: 'a new token, ES256',
  'HS256, verified before': 'a token that came before, HS256',
  'API key': 'an API key',
}
const ALL = Object.keys(KINDS) as Kind[]

/**
 * Questions to a server. `cpu`: its CPU time so far, µs. `heap`: bytes of its heap after a garbage collection. `open`:
 * the number of open connections, for the plain server only.
 */
type Question = 'cpu' | 'heap' | 'open'

/** A module that answers the questions in the server's process. */
const ANSWERS = `
process.on('message', question => {
  if (question === 'heap') gc()
  const { user, system } = process.cpuUsage()
  const { heapUsed, external } = process.memoryUsage()
  process.send(question === 'open' ? globalThis.open() : question === 'cpu' ? user + system : heapUsed + external)
})`
/** The built node, as it is deployed. */
const NODE = [fileURLToPath(new URL('../dist/services/main.js', import.meta.url))]
/** A plain `ws` server: the baseline cost, so that figures of several machines can be compared. */
const PLAIN = [
  '--input-type=module',
  '--eval',
  `import { WebSocketServer } from 'ws'
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
server.on('listening', () => console.log('listening on http://127.0.0.1:' + server.address().port))
server.on('connection', socket => socket.send('{"open":{}}'))
globalThis.open = () => server.clients.size`,
]

class Server {
  readonly #process: ChildProcess
  readonly #port: number
  readonly #isPlain: boolean
  #clients: Socket[] = []

  private constructor(process: ChildProcess, port: number, isPlain: boolean) {
    this.#process = process
    this.#port = port
    this.#isPlain = isPlain
  }

  static async start(program = NODE): Promise<Server> {
    const settings = Object.entries({ HEARTBEAT: '10m', ...world.settings })
    const answers = ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(ANSWERS)}`]
    const child = spawn(process.execPath, [...answers, ...program], {
      cwd: ROOT,
      env: { PORT: '0', ...Object.fromEntries(settings.map(([name, value]) => [`FANWIRE_${name}`, value])) },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    })
    let output = ''
    for (;;) {
      output += String((await once(child.stdout as Readable, 'data'))[0])
      const port = /listening on http:\/\/[^"]*:(\d+)/.exec(output)?.[1]
      if (port !== undefined) return new Server(child, Number(port), program === PLAIN)
    }
  }

  async ask(question: Question): Promise<number> {
    this.#process.send(question)
    return Number((await once(this.#process, 'message'))[0])
  }

  /** Opens a WebSocket with each of the credentials. */
  async connect(credentials: readonly (string | undefined)[]): Promise<void> {
    const queue = credentials.values()
    const lane = async () => {
      for (const credential of queue) await this.#connectOne(credential)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
  }

  async #connectOne(credential: string | undefined): Promise<void> {
    const client = connect(this.#port, '127.0.0.1')
    this.#clients.push(client)
    client.write(
      `GET /v1/ws?channel=open:1 HTTP/1.1\r\nHost: 127.0.0.1:${this.#port}\r\nConnection: Upgrade\r\n` +
        `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n` +
        `${credential === undefined ? '' : `Authorization: Bearer ${credential}\r\n`}\r\n`,
    )
    let text = ''
    while (!text.includes('{"open"')) text += String((await once(client, 'data'))[0])
  }

  async disconnect(): Promise<void> {
    for (const client of this.#clients) client.destroy()
    this.#clients = []
    while ((await this.#connections()) > 0) await sleep(5)
  }

  async #connections(): Promise<number> {
    if (this.#isPlain) return this.ask('open')
    const headers = { authorization: `Bearer ${world.keys.all.key}` }
    const response = await fetch(`http://127.0.0.1:${this.#port}/metrics`, { headers })
    return Number(/^fanwire_connections\{wire="ws"\} (\d+)$/m.exec(await response.text())?.[1])
  }

  async close(): Promise<void> {
    await this.disconnect()
    this.#process.kill()
    await once(this.#process, 'exit')
  }
}

const credentialsOf = (kind: Kind, count: number) => Array.from({ length: count }, KINDS[kind])

/** A line of the table. */
interface Cost {
  readonly title: string
  /** µs of CPU time. */
  readonly cpu: number
  /** The kind of credentials whose memory belongs in this line. */
  readonly kind?: Kind
}

/** A random order, so that no kind always pays for the garbage of the same other kind. */
const shuffled = (kinds: readonly Kind[]) =>
  kinds
    .map(kind => ({ kind, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ kind }) => kind)

/** Measures CPU time while the servers collect their garbage as usual. */
async function measureCpu(): Promise<Cost[]> {
  const node = await Server.start()
  const plain = await Server.start(PLAIN)
  const spentBy = async (server: Server, kind: Kind) => {
    const credentials = credentialsOf(kind, CONNECTIONS)
    const before = await server.ask('cpu')
    await server.connect(credentials)
    const after = await server.ask('cpu')
    await server.disconnect()
    return (after - before) / CONNECTIONS
  }
  const plains: number[] = []
  const rounds: Record<Kind, number>[] = []
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const found = {} as Record<Kind, number>
    for (const kind of shuffled(ALL)) found[kind] = await spentBy(node, kind)
    const alone = await spentBy(plain, 'no token')
    if (round < 0) continue
    rounds.push(found)
    plains.push(alone)
  }
  await Promise.all([node.close(), plain.close()])
  const bare = median(rounds.map(round => round['no token']))
  const more = (kind: Kind) => median(rounds.map(round => round[kind] - round['no token']))
  return [
    { title: 'a connection to a server of `ws` alone', cpu: median(plains) },
    { title: 'a connection without credentials', cpu: bare, kind: 'no token' },
    ...ALL.slice(1).map(kind => ({ title: `more with ${NAMES[kind]}`, cpu: more(kind), kind })),
  ]
}

/** Measures what a signature of ES256 alone costs Node: no node can verify a token for less. */
function measureSignature(): Cost {
  const key = createPublicKey({ key: world.es.jwk, format: 'jwk' })
  const signed = Array.from({ length: CONNECTIONS }, KINDS.ES256).map(token => {
    const end = token.lastIndexOf('.')
    return {
      text: Buffer.from(token.slice(0, end)),
      signature: Buffer.from(token.slice(end + 1), 'base64url'),
    }
  })
  const rounds = Array.from({ length: ROUNDS }, () => {
    const before = process.cpuUsage()
    for (const { text, signature } of signed)
      verify('sha256', text, { key, dsaEncoding: 'ieee-p1363' }, signature)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / signed.length
  })
  return { title: 'a signature of ES256, verified by Node alone', cpu: median(rounds) }
}

/** Measures memory, of each kind of credentials beyond that of a connection without. Each kind has a separate node. */
async function measureMemory(): Promise<Map<Kind, number>> {
  const kept = async (kind: Kind) => {
    const node = await Server.start()
    // Warm-up: the first connections make the node load and compile code.
    await node.connect(credentialsOf(kind, CONNECTIONS))
    await sleep(FORGOTTEN_MS)
    const before = await node.ask('heap')
    await node.connect(credentialsOf(kind, REMEMBERED))
    await sleep(FORGOTTEN_MS)
    const after = await node.ask('heap')
    await node.close()
    return (after - before) / REMEMBERED
  }
  const all = await Promise.all(ALL.map(kept))
  return new Map(ALL.map((kind, i) => [kind, (all[i] ?? 0) - (i === 0 ? 0 : (all[0] ?? 0))]))
}

function table(costs: readonly Cost[], memory: ReadonlyMap<Kind, number>): string {
  const command = `npm run bench:access${options.memory ? ' -- --memory' : ''}`
  const lines = costs.map(({ title, cpu, kind }) => {
    const bytes = kind === undefined ? undefined : memory.get(kind)
    return `| ${title} | ${cpu.toFixed(0)} | ${bytes?.toFixed(0) ?? ''} |`
  })
  return [
    `\`${command}\` on ${machine()}, Node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}; medians of ${ROUNDS} rounds:`,
    '',
    '| | CPU, µs | memory, bytes |',
    '|---|---:|---:|',
    ...lines,
  ].join('\n')
}

if (options.help) process.stdout.write(HELP)
else {
  process.stderr.write(`takes about ${options.memory ? 'three minutes' : 'a minute'}\n`)
  const costs = [...(await measureCpu()), measureSignature()]
  const text = table(costs, options.memory ? await measureMemory() : new Map<Kind, number>())
  process.stdout.write(`${text}\n`)
  if (options.docs) await intoFile('docs/access.md', { 'bench:access': text })
}
