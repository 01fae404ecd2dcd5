// The suite of Redis' Sentinels on those of Valkey, where valkey-server is to be had.

import t from 'tap'
import { useValkey } from '../support/redis-binary.ts'

const missing = await useValkey()
if (missing === undefined) await import('./log-redis-sentinel.test.ts')
else t.plan(0, `skipped: ${missing}`)
