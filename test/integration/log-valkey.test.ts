// Runs the suite of the Redis engine on Valkey, if valkey-server is available.

import t from 'tap'
import { useValkey } from '../support/redis-binary.ts'

const missing = await useValkey()
if (missing === undefined) await import('./log-redis.test.ts')
else t.plan(0, `skipped: ${missing}`)
