// npx tsx bench/access.ts: the CPU cost, in µs, of authenticating a client: the signature alone, and the cost of
// a WebSocket connection beyond one without a token. The clients run in a separate process. Only differences within a
// round are meaningful; the machine is arbitrary.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startMemoryNode } from '../test/contract/node.ts'
import { caps, ClosedWorld } from '../test/support/closed-node.ts'
import { signToken, userClaims } from '../test/support/tokens.ts'

const TOKENS = 500
const ROUNDS = 15
const WARM_UP = 4
const AT_ONCE = 20

interface Job {
  readonly port: number
  readonly tokens: readonly (string | null)[]
}

/** Messages to the clients' process: the coming task, its start, and its end. */
type Order = Job | 'connect' | 'close'

/** In the clients' process: connects with each token, and stays connected. */
async function connectAll({ port, tokens }: Job, clients: Socket[]): Promise<void> {
  const queue = [...tokens]
  const lane = async () => {
    for (let token = queue.pop(); token !== undefined; token = queue.pop()) {
      const client = connect(port, '127.0.0.1')
      clients.push(client)
      client.write(
        `GET /v1/ws?channel=open:1 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n` +
          `${token === null ? '' : `Authorization: Bearer ${token}\r\n`}\r\n`,
      )
      let text = ''
      while (!text.includes('{"open"')) text += String((await once(client, 'data'))[0])
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
}

function serveJobs(): void {
  const clients: Socket[] = []
  let job: Job = { port: 0, tokens: [] }
  const obey = async (order: Order) => {
    if (order === 'connect') await connectAll(job, clients)
    else if (order === 'close') for (const client of clients.splice(0)) client.destroy()
    else job = order
    process.send?.('done')
  }
  process.on('message', (order: Order) => void obey(order))
  process.on('disconnect', () => process.exit(0))
}

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void
/** V8 sweeps in other threads after a collection, and their time counts as the process's. */
const SWEPT_MS = 100

/** Collects garbage first, so that a measurement does not pay for earlier work. */
async function collectGarbage(): Promise<void> {
  gc()
  await new Promise(resolve => setTimeout(resolve, SWEPT_MS))
}

/** CPU time, because others use the machine, too. */
function microsecondsSince(began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began)
  return user + system
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

async function measure(): Promise<void> {
  const world = new ClosedWorld()
  const ES = { ...world.es, bound: { iss: 'https://issuer.example', aud: 'fanwire' } }
  const node = await startMemoryNode(world.settings)
  const { access } = node.app.fanwire
  const crew = fork(fileURLToPath(import.meta.url), ['clients'])
  const grants = { caps: caps('open:*', 'sub') }
  let users = 0
  const makers: Readonly<Record<string, () => string | null>> = {
    'no token': () => null,
    HS256: () => signToken(world.hs, userClaims(`user-${++users}`, grants)),
    ES256: () => signToken(ES, userClaims(`user-${++users}`, { ...grants, ...ES.bound })),
    'API key': () => world.keys.all.key,
  }
  const kept = signToken(world.hs, userClaims('kept', grants))
  const kinds = { ...makers, 'HS256, verified before': () => kept }

  const verifying = async (make: () => string | null) => {
    const tokens = Array.from({ length: TOKENS }, make)
    await collectGarbage()
    const began = process.cpuUsage()
    for (const token of tokens) if (token !== null) await access.bearer(token)
    return microsecondsSince(began) / TOKENS
  }
  const send = async (order: Order) => {
    crew.send(order)
    await once(crew, 'message')
  }
  const connecting = async (make: () => string | null) => {
    await send({ port: node.port, tokens: Array.from({ length: TOKENS }, make) })
    await collectGarbage()
    const began = process.cpuUsage()
    await send('connect')
    const spent = microsecondsSince(began) / TOKENS
    await send('close')
    while (node.app.fanwire.clients.size > 0) await new Promise(resolve => setTimeout(resolve, 5))
    return spent
  }

  const figures: Record<string, number[]> = {}
  const add = (name: string, value: number) => (figures[name] ??= []).push(value)
  const names = Object.keys(kinds) as (keyof typeof kinds)[]
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const found: Record<string, number> = {}
    // Each kind takes each place in a round, so that none always pays for the garbage of another.
    const turn = ((round % names.length) + names.length) % names.length
    for (const name of [...names.slice(turn), ...names.slice(0, turn)]) {
      found[name] = await connecting(kinds[name] ?? (() => null))
    }
    if (round < 0) continue
    for (const name of ['HS256', 'ES256'] as const)
      add(`${name}, verifying`, await verifying(makers[name] ?? (() => null)))
    const bare = found['no token'] ?? 0
    add('no token, connecting', bare)
    for (const [name, value] of Object.entries(found)) {
      if (name !== 'no token') add(`${name}, connecting: more`, value - bare)
    }
  }
  for (const [name, values] of Object.entries(figures)) {
    process.stdout.write(`${name.padEnd(42)} ${median(values).toFixed(1).padStart(8)} µs\n`)
  }
  crew.disconnect()
  await node.close()
}

if (process.argv[2] === 'clients') serveJobs()
else await measure()
