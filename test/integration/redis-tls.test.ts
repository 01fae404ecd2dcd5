// Redis over TLS with a certificate that nodes trust only if it is in NODE_EXTRA_CA_CERTS. The nodes are processes,
// because Node reads this variable only at its start.

import t, { type Test } from 'tap'
import { makeCertificate } from '../contract/http2.ts'
import { runNode, startNode } from '../support/node.ts'
import { startCluster, startSentinel } from '../support/redis-groups.ts'
import { startRedis } from '../support/redis-server.ts'

const tls = makeCertificate()

/** Publishes and reads through a separate node. */
async function serves(
  t: Test,
  url: string,
  env: Readonly<Record<string, string>> = { NODE_EXTRA_CA_CERTS: tls.cert },
): Promise<void> {
  const node = await startNode({ env: { REDIS_URL: url, FANWIRE_REDIS_PREFIX: 'p', ...env } })
  t.teardown(() => node.stop())
  for (const channel of ['a', 'b', 'c']) {
    const published = await fetch(`${node.url}/v1/channels/${channel}/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '1',
    })
    t.equal(published.status, 201)
    const { events } = (await (await fetch(`${node.url}/v1/poll?channel=${channel}`)).json()) as {
      events: { data: unknown }[]
    }
    t.equal(events[0]?.data, 1)
  }
  t.equal((await fetch(`${node.url}/readyz`)).status, 200)
}

t.test('a node uses a server with a password and a database over TLS', async t => {
  const redis = await startRedis({ tls, args: ['--requirepass', 's3cret/%'] })
  t.teardown(() => redis.stop())
  const url = `${redis.url.replace('//', `//:${encodeURIComponent('s3cret/%')}@`)}/3`
  await serves(t, url)
  const { code, output } = await runNode({ env: { REDIS_URL: url, FANWIRE_LOG_TIMEOUT: '5s' } })
  t.equal(code, 1)
  t.match(output, /self-signed certificate/)
  t.notMatch(output, /s3cret/)
})

t.test('a node uses a cluster over TLS', async t => {
  const cluster = await startCluster(1, 0, { tls })
  t.teardown(() => cluster.stop())
  await serves(t, cluster.url)
})

t.test('a node uses a master named by a sentinel over TLS', async t => {
  const group = await startSentinel(1, 's3cret', { tls })
  t.teardown(() => group.stop())
  await serves(t, group.url)
})

t.test('a node uses a server that requires the client certificate in its settings', async t => {
  const redis = await startRedis({ tls, args: ['--tls-auth-clients', 'yes'] })
  t.teardown(() => redis.stop())
  const ca = { FANWIRE_REDIS_TLS_CA: tls.cert }
  const own = { FANWIRE_REDIS_TLS_CERT: tls.cert, FANWIRE_REDIS_TLS_KEY: tls.key }
  await serves(t, redis.url, { ...ca, ...own })
  const run = (env: Readonly<Record<string, string>>) =>
    runNode({ env: { REDIS_URL: redis.url, FANWIRE_LOG_TIMEOUT: '5s', ...env } })
  for (const [env, code, message] of [
    [ca, 1, /the log cannot be/],
    [own, 1, /self-signed certificate/],
    [
      { ...ca, ...own, FANWIRE_REDIS_TLS_KEY: '/nowhere' },
      1,
      /FANWIRE_REDIS_TLS_KEY: \/nowhere cannot be read/,
    ],
    [
      { FANWIRE_REDIS_TLS_CERT: tls.cert },
      2,
      /FANWIRE_REDIS_TLS_CERT is set and FANWIRE_REDIS_TLS_KEY is not/,
    ],
    [{ ...ca, REDIS_URL: 'redis://127.0.0.1' }, 2, /does not begin with rediss/],
  ] as const) {
    const ended = await run(env)
    t.equal(ended.code, code, ended.output)
    t.match(ended.output, message)
  }
})

t.test('a node uses sentinels that require a password', async t => {
  const group = await startSentinel(1, 's3cret', { sentinelPassword: 'watch word' })
  t.teardown(() => group.stop())
  await serves(t, group.url, { FANWIRE_SENTINEL_PASSWORD: 'watch word' })
  const { code, output } = await runNode({ env: { REDIS_URL: group.url, FANWIRE_LOG_TIMEOUT: '5s' } })
  t.equal(code, 1)
  t.match(output, /no sentinel answers: .*NOAUTH/)
  t.notMatch(output, /s3cret|watch word|retry is disabled/)
})
