// The delay before a retry.

import t from 'tap'
import { jitter } from '../../services/backoff.ts'

t.test('jitter spreads by half in both directions', async t => {
  const values = Array.from({ length: 1000 }, () => jitter(1000))
  t.ok(Math.min(...values) >= 500 && Math.max(...values) <= 1500)
  t.ok(new Set(values).size > 300)
})
