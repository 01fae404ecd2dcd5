// The thresholds of low priority: each setting by itself wakes streaming and held readers.

import t, { type Test } from 'tap'
import { WIRES } from '../../../contract/clients.ts'
import { type Settings, startMemoryNode } from '../../../contract/node.ts'
import { fresh, idsOf, reading, take } from '../../../contract/wires.ts'
import { drafts, settled } from './scripted-log.ts'

const NEVER = { LOW_EVENTS: '1000000', LOW_BYTES: '1GiB', LOW_WAIT: '1d' }
const low = { priority: 'low' } as const
const wires = WIRES.filter(({ name }) => name === 'stream' || name === 'long-poll')

/** Starts a node with one low threshold, and a reader. */
async function follow(t: Test, wire: (typeof wires)[number], settings: Settings) {
  const node = await startMemoryNode({ ...NEVER, ...settings })
  t.teardown(() => node.close())
  const channel = fresh()
  const [start] = await node.append(channel, '0')
  const client = await wire.connect(node, { channels: [channel], cursor: start })
  t.teardown(() => client.cut())
  return { node, channel, client }
}

for (const wire of wires) {
  for (const [setting, value, data] of [
    ['LOW_EVENTS', '3', '1'],
    ['LOW_BYTES', '3000', `"${'x'.repeat(998)}"`],
  ] as const) {
    t.test(`${wire.name}: ${setting} alone ends the wait`, async t => {
      const { node, channel, client } = await follow(t, wire, { [setting]: value })
      const draft = { ...low, data: Buffer.from(data) }
      // Twice, because the events of the second round wait from the beginning.
      for (let i = 0; i < 2; i++) {
        let came = false
        const arriving = take(client, 3)
        void arriving.then(() => (came = true))
        await reading(node, channel)
        const ids = await node.append(channel, draft, draft)
        await settled()
        t.notOk(came, 'two events do not end the wait')
        ids.push(...(await node.append(channel, draft)))
        t.same(idsOf(await arriving), ids)
      }
    })
  }

  t.test(`${wire.name}: LOW_WAIT alone ends the wait`, async t => {
    const came: string[] = []
    const waits = async (wait: string) => {
      const { node, channel, client } = await follow(t, wire, { LOW_WAIT: wait })
      const arriving = take(client, 1)
      await reading(node, channel)
      return async () => {
        const ids = await node.append(channel, low)
        t.same(idsOf(await arriving), ids)
        came.push(wait)
      }
    }
    const publish = [await waits('2s'), await waits('100ms')]
    await Promise.all(publish.map(each => each()))
    t.same(came, ['100ms', '2s'])
  })

  for (const settings of [{ LOW_EVENTS: '1' }, { LOW_WAIT: '0' }]) {
    t.test(`${wire.name}: with ${JSON.stringify(settings)} low equals normal priority`, async t => {
      const { node, channel, client } = await follow(t, wire, settings)
      for (let i = 0; i < 3; i++) {
        const arriving = take(client, 1)
        await reading(node, channel)
        const ids = await node.append(channel, low)
        t.same(idsOf(await arriving), ids)
      }
    })
  }
}

t.test('a long poll that has reached its limit does not wait for more events', async t => {
  const node = await startMemoryNode(NEVER)
  t.teardown(() => node.close())
  const channel = fresh()
  const ids = await node.append(channel, '0', ...drafts(3, low))
  const { body } = await node.get(`/v1/long-poll?channel=${channel}&cursor=${ids[0]}&limit=3&wait=55`)
  t.same(
    JSON.parse(body).events.map((event: { id: string }) => event.id),
    ids.slice(1),
  )
})
