// What is wrong with settings that are each well-formed.

import { isLoopbackHost } from './kinds.ts'
import type { Values } from './settings.ts'

/** A line for each contradiction. */
export function contradictions(values: Values): string[] {
  const found: string[] = []
  const { redisUrl: url, role, workers, host, publishKeys, insecure } = values
  const { port, tlsCert, tlsKey, h2cPort, metricsPort } = values
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    const [set, missing] = tlsKey === undefined ? ['CERT', 'KEY'] : ['KEY', 'CERT']
    found.push(`FANWIRE_TLS_${set} is set and FANWIRE_TLS_${missing} is not: TLS needs both`)
  }
  const { redisTlsCa, redisTlsCert, redisTlsKey, sentinelUsername, sentinelPassword } = values
  if ((redisTlsCert === undefined) !== (redisTlsKey === undefined)) {
    const [set, missing] = redisTlsKey === undefined ? ['CERT', 'KEY'] : ['KEY', 'CERT']
    found.push(`FANWIRE_REDIS_TLS_${set} is set and FANWIRE_REDIS_TLS_${missing} is not: they go together`)
  }
  if ((redisTlsCa ?? redisTlsCert ?? redisTlsKey) !== undefined && !/^rediss/.test(url ?? '')) {
    found.push('FANWIRE_REDIS_TLS_… is set, but REDIS_URL does not begin with rediss: nothing would use it')
  }
  if ((sentinelUsername ?? sentinelPassword) !== undefined && !/^rediss?\+sentinel:/.test(url ?? '')) {
    found.push('FANWIRE_SENTINEL_… is set, but REDIS_URL names no Sentinels: nothing would use it')
  }
  const taken = new Map([[port, 'PORT']])
  for (const [setting, own, what] of [
    ['FANWIRE_H2C_PORT', h2cPort, 'cleartext HTTP/2 needs a port of its own'],
    ['FANWIRE_METRICS_PORT', metricsPort, 'metrics need a port of their own'],
  ] as const) {
    if (own === undefined) continue
    const other = own === 0 ? undefined : taken.get(own)
    if (other !== undefined) found.push(`${setting} is ${own}, as is ${other}: ${what}`)
    if (own === 0 && workers > 1)
      found.push(`${setting} is 0, which WORKERS above 1 can not share: name a port`)
    taken.set(own, setting)
  }
  if (role !== 'all' && url === undefined) {
    found.push(`ROLE is ${role}, which needs REDIS_URL: nodes share their events through Redis`)
  }
  if (workers > 1 && url === undefined) {
    found.push(`WORKERS is ${workers}, which needs REDIS_URL: processes share their events through Redis`)
  }
  if (!isLoopbackHost(host) && publishKeys.length === 0 && !insecure) {
    found.push(
      `HOST is ${host}, where others can reach it, and without FANWIRE_PUBLISH_KEY anybody could publish: ` +
        'set FANWIRE_PUBLISH_KEY to a secret of your choice, or FANWIRE_INSECURE=1 to allow it',
    )
  }
  return found
}
