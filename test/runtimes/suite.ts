// Checks the client's contract in the current runtime. It is bundled into one file and uses nothing of Node.

import {
  connect,
  FanwireError,
  type Options,
  type Subscription,
  Unauthorized,
  type Wire,
} from '../../client/index.ts'
import { createPublisher } from '../../client/publisher.ts'

/** URLs of one node. */
export interface Places {
  readonly direct: string
  /** Through a proxy that cuts connections after some bytes. */
  readonly cutting: string
  /** Through a proxy that refuses upgrades and buffers streams. */
  readonly blocking: string
}

const { RUN, WebSocket } = globalThis as unknown as {
  readonly RUN: (suite: typeof run) => void
  readonly WebSocket?: unknown
}

const timing = { backoff: 20, maxBackoff: 100, open: 1000, poll: 20 }
const numbers = (to: number) => Array.from({ length: to }, (_, i) => i + 1)

function equal(found: unknown, wanted: unknown): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (one !== other) throw new Error(`${one} in place of ${other}`)
}

/** The data of the first events, read with `for await`. */
async function first(subscription: Subscription<number>, count: number): Promise<number[]> {
  const data: number[] = []
  for await (const event of subscription) if (data.push(event.data) === count) break
  return data
}

export async function run(places: Places, say: (line: string) => void): Promise<boolean> {
  let good = true
  const check = async (name: string, what: () => Promise<void>) => {
    try {
      await what()
      say(`ok ${name}`)
    } catch (error) {
      good = false
      say(`not ok ${name}: ${String(error)}`)
    }
  }
  const client = (url: string, options: Options = {}) => connect(url, { timing, ...options })
  const wires = (['ws', 'sse', 'stream', 'long-poll', 'poll'] as const).filter(
    wire => wire !== 'ws' || WebSocket !== undefined,
  )

  for (const wire of wires) {
    await check(`${wire}: cuts lose, repeat and reorder nothing`, () => cuts(wire))
  }
  await check('a client finds a working wire behind a proxy that refuses upgrades and buffers', async () => {
    const fanwire = client(places.blocking)
    await fanwire.publish('blocked', 1)
    equal(await first(fanwire.subscribe<number>('blocked', { cursor: 'earliest' }), 1), [1])
    fanwire.close()
  })
  await check('a gap is reported', async () => {
    const fanwire = client(places.direct)
    const gap = new Promise<string>(resolve => {
      const subscription = fanwire.subscribe('lost', { cursor: 'gone-7' })
      subscription.on('gap', ({ from }) => resolve(from))
      subscription.on('event', () => {})
    })
    equal(await gap, 'gone-7')
    fanwire.close()
  })
  await check('a rejected publish raises, and a client without a token stops', async () => {
    const fanwire = client(places.direct)
    const refused: unknown = await fanwire.publish('not a name', 1).catch((error: unknown) => error)
    if (!(refused instanceof FanwireError)) throw new Error(String(refused))
    equal(refused.code, 'FW_BAD_CHANNEL')
    fanwire.close()
    const getToken = () => {
      throw new Unauthorized('signed out')
    }
    const out = client(places.direct, { getToken })
    const stopped = new Promise(resolve =>
      out.on('state', ({ name }) => name === 'unauthorized' && resolve(name)),
    )
    out.subscribe('x').on('event', () => {})
    equal(await stopped, 'unauthorized')
    out.close()
  })
  await check('the publisher keeps order, and publishes nothing twice', async () => {
    const publisher = createPublisher(places.cutting, { backoff: 5, maxBackoff: 50, batch: 10 })
    const entries = numbers(100).map(data => ({ channel: 'orders', data }))
    let count = 0
    for await (const { id } of publisher.all(entries)) if (id !== undefined) count++
    equal(count, 100)
    const fanwire = client(places.direct)
    equal(await first(fanwire.subscribe<number>('orders', { cursor: 'earliest' }), 100), numbers(100))
    publisher.close()
    fanwire.close()
  })
  return good

  async function cuts(wire: Wire): Promise<void> {
    const fanwire = client(places.cutting, { wires: [wire] })
    const gaps: unknown[] = []
    const subscription = fanwire.subscribe<number>(`cuts:${wire}`, { cursor: 'earliest' })
    subscription.on('gap', gap => gaps.push(gap))
    const data = first(subscription, 100)
    const publisher = client(places.direct)
    for (const n of numbers(100)) await publisher.publish(`cuts:${wire}`, n)
    equal(await data, numbers(100))
    equal(gaps, [])
    publisher.close()
    fanwire.close()
  }
}

RUN(run)
