// Streams that end at a position, and replays at a pace.

import t from 'tap'
import { Pacing } from '../../../services/broker/fanout/plan.ts'
import { startMemoryNode } from '../../contract/node.ts'

t.test('a stretch is replayed, and ends with a notice', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const ids = await node.append('a', '1', '2', '3')
  const closing = '{"close":{"code":1000,"reason":"until"}}'
  for (const query of ['until=head', `until=${ids[2]}`, 'until=head&speed=1000', `until=${Date.now() + 1}`]) {
    const { body } = await node.get(`/v1/stream?channel=a&cursor=earliest&${query}`)
    const lines = body.split('\n').filter(Boolean)
    t.same([lines.length, lines.at(-1)], [5, closing], query)
  }
  const { body } = await node.get(`/v1/stream?channel=a&cursor=earliest&until=${ids[0]}`)
  t.equal(body.split('\n').filter(Boolean).length, 3)
  const sse = await node.get('/v1/sse?channel=a&cursor=earliest&until=head')
  t.ok(sse.body.endsWith('event: end\ndata: {"close":{"code":1000,"reason":"until"}}\n\n'))
  for (const [query, code] of [
    ['until=tomorrow', 'FW_BAD_CURSOR'],
    ['speed=0', 'FW_BAD_PARAMETER'],
    ['speed=1001', 'FW_BAD_PARAMETER'],
    ['speed=2&every=1s', 'FW_BAD_PARAMETER'],
  ] as const) {
    t.match(JSON.parse((await node.get(`/v1/stream?channel=a&${query}`)).body), { error: { code } }, query)
  }
})

t.test('the pace follows the events’ own times', async t => {
  const pacing = new Pacing(10)
  t.equal(pacing.due({ time: 5000 }, 100), 100)
  t.equal(pacing.due({ time: 6000 }, 120), 200)
})
