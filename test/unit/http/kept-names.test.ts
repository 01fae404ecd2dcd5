// The names that a node remembers do not keep the URLs in memory that they came in.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { type Node, startMemoryNode } from '../../contract/node.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const REQUESTS = 600
/** What a client may add to any URL. */
const LONG = `_=${'x'.repeat(12_000)}`
/** Bytes that one request may leave: far less than its URL. */
const LEFT = 6000

/** Bytes of the heap that one request leaves. `send` gets its number. */
async function leftBy(send: (i: number) => Promise<unknown>): Promise<number> {
  for (let i = 0; i < 50; i++) await send(i)
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  for (let i = 50; i < 50 + REQUESTS; i++) await send(i)
  collectGarbage()
  return (process.memoryUsage().heapUsed - before) / REQUESTS
}

const nameOf = (i: number) => `a-name-longer-than-a-slice-${i}`

async function poll(node: Node, channel: string): Promise<void> {
  const { status, body } = await node.get(`/v1/poll?channel=${channel}&${LONG}`)
  if (status !== 200) throw new Error(`${status} ${body}`)
}

const requests: readonly (readonly [name: string, send: (node: Node, i: number) => Promise<unknown>])[] = [
  ['reads of channels', (node, i) => poll(node, nameOf(i))],
  [
    'channels that are followed',
    async (node, i) => {
      // The second read of a channel makes the node follow it.
      await poll(node, nameOf(i))
      await poll(node, nameOf(i))
    },
  ],
  ['channels with events', (node, i) => node.publish(nameOf(i), '1', 'application/json', `?${LONG}`)],
  [
    'the types and tags of events',
    (node, i) => {
      const query = `?${LONG}&type=type-${nameOf(i)}&tag.some-tag=value-${nameOf(i)}`
      return node.publish('c', '1', 'application/json', query)
    },
  ],
]

for (const [name, send] of requests) {
  t.test(`${name} do not keep their URLs`, async t => {
    const node = await startMemoryNode()
    t.teardown(() => node.close())
    const left = await leftBy(i => send(node, i))
    t.ok(left < LEFT, `${Math.round(left)} bytes a request`)
  })
}
