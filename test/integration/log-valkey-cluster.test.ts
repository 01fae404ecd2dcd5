// The suite of a Redis Cluster on a cluster of Valkey, where valkey-server is to be had:
// `npm run test:valkey`. What `npm test` runs on Valkey is the suite of one server.

import t from 'tap'
import { useValkey } from '../support/redis-binary.ts'

const missing = process.env.VALKEY === 'all' ? await useValkey() : 'npm run test:valkey runs it'
if (missing === undefined) await import('./log-redis-cluster.test.ts')
else t.plan(0, `skipped: ${missing}`)
