// npx tsx bench/access.ts: what it costs to know who a client is: the signature alone, and a WebSocket connection with it
// beside one without. Ratios count; the machine is whatever it is.

import { once } from 'node:events'
import { WebSocket } from 'ws'
import { startMemoryNode } from '../test/contract/node.ts'
import { caps, ClosedWorld } from '../test/support/closed-node.ts'
import { signToken, userClaims } from '../test/support/tokens.ts'

const TOKENS = 500
const ROUNDS = 5
const AT_ONCE = 20

const world = new ClosedWorld()
const ES = { ...world.es, bound: { iss: 'https://issuer.example', aud: 'fanwire' } }
const node = await startMemoryNode(world.settings)
const { access } = node.app.fanwire

const tokensOf = {
  HS256: (user: string) => signToken(world.hs, userClaims(user, { caps: caps('open:*', 'sub') })),
  ES256: (user: string) => signToken(ES, userClaims(user, { caps: caps('open:*', 'sub'), ...ES.bound })),
}
let users = 0
/** Each of another user, so that none was verified before. */
const fresh = (make: (user: string) => string) =>
  Array.from({ length: TOKENS }, () => make(`user-${++users}`))

/** Of CPU: others use the machine, too. */
function microsecondsSince(began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began)
  return user + system
}

async function verifying(tokens: readonly string[]): Promise<number> {
  const began = process.cpuUsage()
  for (const token of tokens) await access.bearer(token)
  return microsecondsSince(began) / tokens.length
}

/** µs of CPU a connection, of both sides. */
async function connecting(tokens: readonly (string | undefined)[]): Promise<number> {
  const clients: WebSocket[] = []
  const began = process.cpuUsage()
  const queue = [...tokens.entries()]
  const lane = async () => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const [, token] = next
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
      const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=open:1`, { headers })
      clients.push(client)
      await once(client, 'message')
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
  const spent = microsecondsSince(began)
  const closed = Promise.all(clients.map(client => once(client, 'close')))
  for (const client of clients) client.terminate()
  await closed
  return spent / tokens.length
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
const figures: Record<string, number[]> = {}
for (let round = 0; round <= ROUNDS; round++) {
  const found: Record<string, number> = {
    'HS256, verifying': await verifying(fresh(tokensOf.HS256)),
    'ES256, verifying': await verifying(fresh(tokensOf.ES256)),
    'no token, connecting': await connecting(new Array<undefined>(TOKENS).fill(undefined)),
    'HS256, connecting': await connecting(fresh(tokensOf.HS256)),
    'ES256, connecting': await connecting(fresh(tokensOf.ES256)),
  }
  // The first warms up.
  if (round > 0) for (const [name, value] of Object.entries(found)) (figures[name] ??= []).push(value)
}
for (const [name, values] of Object.entries(figures)) {
  process.stdout.write(`${name.padEnd(24)} ${median(values).toFixed(1).padStart(8)} µs\n`)
}
await node.close()
