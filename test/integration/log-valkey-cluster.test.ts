// Runs the suite of a Redis Cluster on Valkey, if valkey-server is available: `npm run test:valkey`. On Valkey,
// `npm test` runs only the suite of a single server.

import t from 'tap'
import { useValkey } from '../support/redis-binary.ts'

const missing = process.env.VALKEY === 'all' ? await useValkey() : 'npm run test:valkey runs it'
if (missing === undefined) await import('./log-redis-cluster.test.ts')
else t.plan(0, `skipped: ${missing}`)
