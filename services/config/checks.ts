// Contradictions between settings that are each well-formed.

import { isLoopbackHost } from './kinds.ts'
import type { Values } from './settings.ts'

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
    found.push(`FANWIRE_REDIS_TLS_${set} is set and FANWIRE_REDIS_TLS_${missing} is not: set both or neither`)
  }
  if ((redisTlsCa ?? redisTlsCert ?? redisTlsKey) !== undefined && !/^rediss/.test(url ?? '')) {
    found.push(
      'FANWIRE_REDIS_TLS_… is set, but REDIS_URL does not begin with rediss: use rediss, or remove the setting',
    )
  }
  if ((sentinelUsername ?? sentinelPassword) !== undefined && !/^rediss?\+sentinel:/.test(url ?? '')) {
    found.push(
      'FANWIRE_SENTINEL_… is set, but REDIS_URL names no Sentinels: use redis+sentinel, or remove the setting',
    )
  }
  const taken = new Map([[port, 'PORT']])
  for (const [setting, own, what] of [
    ['FANWIRE_H2C_PORT', h2cPort, 'cleartext HTTP/2 needs a separate port'],
    ['FANWIRE_METRICS_PORT', metricsPort, 'metrics need a separate port'],
  ] as const) {
    if (own === undefined) continue
    const other = own === 0 ? undefined : taken.get(own)
    if (other !== undefined) found.push(`${setting} is ${own}, as is ${other}: ${what}`)
    if (own === 0 && workers > 1)
      found.push(`${setting} is 0, which WORKERS above 1 cannot share: set a fixed port`)
    taken.set(own, setting)
  }
  const { data, fsync } = values
  const alone = data === undefined ? '' : ', and a folder (FANWIRE_DATA) is for one process'
  if (role !== 'all' && url === undefined) {
    found.push(`ROLE is ${role}, which needs REDIS_URL: nodes share their events through Redis${alone}`)
  }
  if (workers > 1 && url === undefined) {
    found.push(
      `WORKERS is ${workers}, which needs REDIS_URL: processes share their events through Redis${alone}`,
    )
  }
  if (data !== undefined && url !== undefined)
    found.push('FANWIRE_DATA and REDIS_URL are both set: remove one, the log can be in one place only')
  if (data === undefined && fsync > 0)
    found.push('FANWIRE_FSYNC is set, but FANWIRE_DATA is not: set it, or remove FANWIRE_FSYNC')
  const { keysFile, jwtKeysFile, jwksUrl, jwtAudience, jwtIssuer, rulesFile, tokenCookie, tokenQuery } =
    values
  const lists = [keysFile, jwtKeysFile, jwksUrl, rulesFile]
  const sources = role === 'writer' ? [...lists, publishKeys[0]] : lists
  if (!isLoopbackHost(host) && sources.every(source => source === undefined) && !insecure) {
    const needed = role === 'writer' ? 'FANWIRE_PUBLISH_KEY (a secret of your choice), ' : ''
    found.push(
      `HOST is ${host}, which others can reach, and nothing restricts access: set ${needed}` +
        'FANWIRE_JWT_KEYS_FILE or FANWIRE_JWKS_URL (tokens of users), FANWIRE_KEYS_FILE (keys of servers) or ' +
        'FANWIRE_RULES (a rule for each kind of channel), or FANWIRE_INSECURE=1 to let anyone read',
    )
  }
  if (jwksUrl !== undefined && jwtKeysFile !== undefined) {
    found.push(
      'FANWIRE_JWKS_URL and FANWIRE_JWT_KEYS_FILE are both set: remove one, the keys of tokens come from one source',
    )
  }
  if (jwksUrl !== undefined && jwtAudience.length === 0) {
    found.push(
      'FANWIRE_JWKS_URL is set and FANWIRE_JWT_AUDIENCE is not: set it, as a provider signs tokens for other audiences too',
    )
  }
  if (jwksUrl === undefined && (jwtAudience.length > 0 || jwtIssuer !== undefined)) {
    found.push(
      'FANWIRE_JWT_AUDIENCE and FANWIRE_JWT_ISSUER need FANWIRE_JWKS_URL; in a key file, each key has aud and iss',
    )
  }
  if ((tokenCookie !== undefined || tokenQuery) && jwksUrl === undefined && jwtKeysFile === undefined) {
    found.push(
      'FANWIRE_TOKEN_… is set, but there are no keys of tokens: set FANWIRE_JWT_KEYS_FILE or FANWIRE_JWKS_URL',
    )
  }
  return found
}
