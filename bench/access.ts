// npm run build && npx tsx bench/access.ts: the cost of authenticating a client, compared with a WebSocket connection without a token:
// CPU time, and with --memory also memory (a minute more). The nodes run in separate processes; this process signs the
// tokens, one per user, and connects. Only differences within a round are meaningful.

import { type ChildProcess, fork } from 'node:child_process'
import { createPublicKey, verify } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { AUDIENCE, caps, ClosedWorld, ISSUER } from '../test/support/closed-node.ts'
import { signToken, userClaims } from '../test/support/tokens.ts'

const ROUNDS = 40
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
const ALL = Object.keys(KINDS) as Kind[]

/** Questions to a node: its CPU time so far, µs; bytes of its heap after a collection. */
type Question = 'cpu' | 'heap'

/** Answers them in the node's process. The node itself is the built one, as it is deployed. */
const ANSWERS = `
process.on('message', question => {
  if (question === 'heap') gc()
  const { user, system } = process.cpuUsage()
  const { heapUsed, external } = process.memoryUsage()
  process.send(question === 'cpu' ? user + system : heapUsed + external)
})`
const MAIN = fileURLToPath(new URL('../dist/services/main.js', import.meta.url))

class MeasuredNode {
  readonly #process: ChildProcess
  readonly #port: number
  #clients: Socket[] = []

  private constructor(process: ChildProcess, port: number) {
    this.#process = process
    this.#port = port
  }

  static async start(): Promise<MeasuredNode> {
    const settings = Object.entries({ HEARTBEAT: '10m', ...world.settings })
    const child = fork(MAIN, {
      execArgv: ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(ANSWERS)}`],
      env: { PORT: '0', ...Object.fromEntries(settings.map(([name, value]) => [`FANWIRE_${name}`, value])) },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    })
    let output = ''
    for (;;) {
      output += String((await once(child.stdout as Readable, 'data'))[0])
      const port = /listening on http:\/\/[^"]*:(\d+)/.exec(output)?.[1]
      if (port !== undefined) return new MeasuredNode(child, Number(port))
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

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

function print(name: string, value: number, unit: string, note = ''): void {
  process.stdout.write(`${name.padEnd(30)} ${value.toFixed(0).padStart(6)} ${unit}${note}\n`)
}

/** A random order, so that no kind always pays for the garbage of the same other kind. */
const shuffled = (kinds: readonly Kind[]) =>
  kinds
    .map(kind => ({ kind, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ kind }) => kind)

/** Measures CPU time while the node collects its garbage as usual. */
async function measureCpu(): Promise<void> {
  const node = await MeasuredNode.start()
  const spent = async (kind: Kind) => {
    const credentials = credentialsOf(kind, CONNECTIONS)
    const before = await node.ask('cpu')
    await node.connect(credentials)
    const after = await node.ask('cpu')
    await node.disconnect()
    return (after - before) / CONNECTIONS
  }
  const rounds: Record<Kind, number>[] = []
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const found = {} as Record<Kind, number>
    for (const kind of shuffled(ALL)) found[kind] = await spent(kind)
    if (round >= 0) rounds.push(found)
  }
  await node.close()
  print('no token', median(rounds.map(round => round['no token'])), 'µs of CPU')
  for (const kind of ALL.slice(1)) {
    const more = median(rounds.map(round => round[kind] - round['no token']))
    const times = median(rounds.map(round => round[kind] / round['no token']))
    print(kind, more, 'µs of CPU more', `, ${times.toFixed(2)} times`)
  }
}

/** Measures what a signature of ES256 alone costs Node, one after the other: no node can verify a token for less. */
function measureSignature(): void {
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
  print('a signature of ES256 alone', median(rounds), 'µs of CPU')
}

/** Measures memory. Each kind has a separate node. */
async function measureMemory(): Promise<void> {
  const kept = async (kind: Kind) => {
    const node = await MeasuredNode.start()
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
  const [bare = 0, ...others] = await Promise.all(ALL.map(kept))
  print('no token', bare, 'bytes')
  for (const [i, bytes] of others.entries()) print(ALL[i + 1] ?? '', bytes - bare, 'bytes more')
}

await measureCpu()
measureSignature()
if (process.argv.includes('--memory')) await measureMemory()
