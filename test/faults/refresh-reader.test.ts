// The fault suite's reader of `/v1/refresh` after an outage: a page shows the newest thousand events, and counts the
// others.

import t from 'tap'
import { startMemoryNode } from '../contract/node.ts'
import { Account } from './account.ts'
import { RefreshReader } from './readers/refresh.ts'

const channel = 'news'

t.test('new events that a page does not show are reported to the reader, not lost', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const account = new Account()
  const numbers = Array.from({ length: 1235 }, (_, i) => i + 1)
  const options = { name: 'reader', ports: [node.port], channels: [channel], account, number: 0 }
  const reader = new RefreshReader({ ...options, begin: 'earliest' })
  await reader.opened
  for (const n of numbers) account.sent(channel, n)
  const ids = await node.append(channel, ...numbers.map(n => ({ data: Buffer.from(`{"n":${n}}`) })))
  for (const [i, id] of ids.entries()) account.acknowledged({ channel, n: i + 1, id, time: Date.now() })
  while (account.missing() > 0) await node.get('/healthz')
  await reader.stop()
  const { lost, gapped, gaps, delivered, faults } = account.judge()
  t.same(faults, [])
  t.match({ lost, gaps, gapped, delivered }, { lost: 0, gaps: 1, gapped: 235, delivered: 1000 })
})
