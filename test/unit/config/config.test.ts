// Settings are read from the environment and the command line into one validated object.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { type Config, ConfigError, readConfig } from '../../../services/config/config.ts'
import { isLoopbackHost } from '../../../services/config/kinds.ts'
import { settingsTable, settingTexts } from '../../../services/config/text.ts'
import { VERSION } from '../../../services/config/version.ts'

type Env = Record<string, string>

function config(env: Env = {}, args: string[] = []): Config {
  const command = readConfig(args, env)
  if (!('config' in command)) throw new Error('no config')
  return command.config
}

/** The error text about invalid settings. */
function problem(env: Env = {}, args: string[] = []): string {
  try {
    config(env, args)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return ''
}

function printed(...args: string[]): string {
  const command = readConfig(args, {})
  return 'print' in command ? command.print : ''
}

t.test('without settings: one node on loopback with the memory log', async t => {
  const { maxConnections, ...rest } = config()
  t.ok(maxConnections >= 1 && Number.isInteger(maxConnections))
  t.strictSame(rest, {
    host: '127.0.0.1',
    port: 8080,
    tlsCert: undefined,
    tlsKey: undefined,
    h2cPort: undefined,
    metricsPort: undefined,
    role: 'all',
    workers: 1,
    data: undefined,
    fsync: 0,
    redisUrl: undefined,
    redisTlsCa: undefined,
    redisTlsCert: undefined,
    redisTlsKey: undefined,
    sentinelUsername: undefined,
    sentinelPassword: undefined,
    redisPrefix: 'fw',
    logLevel: 'info',
    publishKeys: [],
    insecure: false,
    keysFile: undefined,
    jwtKeysFile: undefined,
    jwksUrl: undefined,
    jwtAudience: [],
    jwtIssuer: undefined,
    tokenCookie: undefined,
    tokenQuery: false,
    rulesFile: undefined,
    socketIo: false,
    durableStreams: false,
    centrifuge: false,
    mercure: false,
    mercureSubscriptions: false,
    pusherApps: undefined,
    directWrites: true,
    otel: false,
    docs: undefined,
    wsDeflate: 0,
    origins: undefined,
    publishOrigins: undefined,
    hosts: undefined,
    trustProxy: undefined,
    maxLoopDelay: 1000,
    maxRss: 0,
    addressConnections: 0,
    addressSubscriptions: 0,
    addressRequests: { burst: 0, perSecond: 0 },
    addressPublishes: { burst: 0, perSecond: 0 },
    addressBytes: { burst: 0, perSecond: 0 },
    userConnections: 0,
    userSubscriptions: 0,
    userRequests: { burst: 0, perSecond: 0 },
    userPublishes: { burst: 0, perSecond: 0 },
    userBytes: { burst: 0, perSecond: 0 },
    keyConnections: 0,
    keySubscriptions: 0,
    keyRequests: { burst: 0, perSecond: 0 },
    keyPublishes: { burst: 0, perSecond: 0 },
    keyBytes: { burst: 0, perSecond: 0 },
    connectionRequests: { burst: 0, perSecond: 0 },
    connectionPublishes: { burst: 0, perSecond: 0 },
    connectionBytes: { burst: 0, perSecond: 0 },
    maxBody: 2 ** 20,
    maxChannels: 100,
    memory: 256 * 2 ** 20,
    maxFollowed: 50_000,
    linger: 10_000,
    presenceGrace: 5000,
    hooksPrivate: [],
    console: undefined,
    heartbeat: 25_000,
    stall: 30_000,
    drain: 10_000,
    drainNotice: 0,
    maxAge: 0,
    idempotencyWindow: 120_000,
    logTimeout: 5000,
    history: { events: 10_000, age: 86_400_000, bytes: 64 * 2 ** 20 },
    low: { events: 64, bytes: 64 * 2 ** 10, age: 1000 },
  })
})

t.test('a node with a shared log gives load balancers time to notice that it stops', async t => {
  const REDIS_URL = 'redis://127.0.0.1'
  t.equal(config({ REDIS_URL }).drainNotice, 2000)
  t.equal(
    config({ REDIS_URL, FANWIRE_DRAIN: '1s' }).drainNotice,
    200,
    'the notice is a part of the drain time',
  )
  t.equal(config({ REDIS_URL, FANWIRE_DRAIN_NOTICE: '0' }).drainNotice, 0)
  t.equal(config({ FANWIRE_DRAIN_NOTICE: '5s' }).drainNotice, 5000)
})

t.test('the connection limit is 80 % of the open-file limit', async t => {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
  if (soft === undefined) return
  t.equal(config().maxConnections, Math.floor(Number(soft) * 0.8))
})

t.test('a setting is a variable and a flag, and the flag wins', async t => {
  t.equal(config({ PORT: '1234' }).port, 1234)
  t.equal(config({ PORT: '1234' }, ['--port', '5678']).port, 5678)
  t.equal(config({ PORT: '1234' }, ['--port=0']).port, 0)
  t.equal(config({ FANWIRE_MAX_BODY: '2KiB' }).maxBody, 2048)
  t.equal(config({}, ['--max-body', '2KiB']).maxBody, 2048)
  t.strictSame(config({}, ['--publish-key=a,b']).publishKeys, ['a', 'b'])
  t.strictSame(config({}, ['--history-events', '5', '--history-age=1h', '--history-bytes=1MB']).history, {
    events: 5,
    age: 3_600_000,
    bytes: 1_000_000,
  })
  t.strictSame(config({ FANWIRE_LOW_EVENTS: '3' }, ['--low-bytes', '1KiB', '--low-wait=0']).low, {
    events: 3,
    bytes: 1024,
    age: 0,
  })
  t.equal(config({}, ['--insecure', '--host', '0.0.0.0']).insecure, true)
})

t.test('an empty variable counts as unset', async t => {
  t.equal(config({ PORT: '', FANWIRE_PUBLISH_KEY: '', FANWIRE_MAX_BODY: '' }).port, 8080)
})

t.test('foreign variables are ignored', async t => {
  t.equal(config({ PATH: '/bin', FANWIRES: 'x', REDIS_HOST: 'y' }).port, 8080)
})

t.test('durations are parsed with their units', async t => {
  const age = (text: string) => config({ FANWIRE_HISTORY_AGE: text }).history.age
  t.strictSame(['250ms', '10s', '5m', '24h', '7d'].map(age), [250, 10_000, 300_000, 86_400_000, 604_800_000])
  t.equal(config({ FANWIRE_LINGER: '0' }).linger, 0)
  for (const bad of ['10', 's', '1.5s', '-1s', '10 s', '10sec', '10S', '1e3s', 'ten', '99999d', '0']) {
    t.match(
      problem({ FANWIRE_HISTORY_AGE: bad }),
      /^FANWIRE_HISTORY_AGE is ".*"; expected a duration such as/,
    )
  }
})

t.test('sizes are parsed with their units', async t => {
  const bytes = (text: string) => config({ FANWIRE_HISTORY_BYTES: text }).history.bytes
  t.strictSame(
    ['1024', '10B', '1KB', '512KiB', '1MB', '64MiB', '2GiB', '1gb'].map(bytes),
    [1024, 10, 1000, 524_288, 1_000_000, 67_108_864, 2_147_483_648, 1e9],
  )
  for (const bad of ['MiB', '1.5MiB', '-1', '1 MB', '1M', '0x10', '1ib', '0', '9999999GiB']) {
    t.match(
      problem({ FANWIRE_HISTORY_BYTES: bad }),
      /^FANWIRE_HISTORY_BYTES is ".*"; expected a size such as/,
    )
  }
})

t.test('a malformed value is rejected with its name, the value and the expected form', async t => {
  const cases: [string, string[], RegExp][] = [
    ['PORT', ['x', '-1', '65536', '80.5', '0x50', '1e3', ' 80'], /expected an integer from 0 to 65535$/],
    ['ROLE', ['both', 'ALL'], /expected one of all, edge, writer$/],
    ['LOG_LEVEL', ['verbose', 'INFO'], /expected one of trace, debug, info, warn, error, fatal, silent$/],
    [
      'HOST',
      ['a b', 'localhost:80', 'http://x', '1.2.3', '256.1.1.1', '-'.repeat(300)],
      /expected an IP address/,
    ],
    ['FANWIRE_INSECURE', ['yes', '2'], /expected 1 or 0$/],
    ['FANWIRE_HISTORY_EVENTS', ['0', '1.5', '10k'], /expected an integer from 1/],
    ['FANWIRE_WS_DEFLATE', ['on', '2GiB'], /expected a size .* from 0 to 1GiB/],
    ['FANWIRE_LOW_EVENTS', ['0', '1000001'], /expected an integer from 1 to/],
    ['FANWIRE_LOW_BYTES', ['0', '2GiB'], /expected a size .* from 1 to 1GiB/],
    ['FANWIRE_LOW_WAIT', ['1', '2d'], /expected a duration .* from 0 to 1d/],
    ['FANWIRE_MAX_CHANNELS', ['0', 'x'], /expected an integer from 1/],
    ['FANWIRE_MAX_CONNECTIONS', ['0'], /expected an integer from 1/],
    ['FANWIRE_REDIS_PREFIX', ['{fw}', 'a b', 'x'.repeat(65)], /expected 1 to 64 of/],
    [
      'FANWIRE_ORIGINS',
      ['example.com', 'https://a.example/', 'file://', 'https://a.*.x', '*,https://a', 'null', 'a,'],
      /expected \* alone/,
    ],
  ]
  for (const [name, values, expected] of cases) {
    for (const value of values) {
      const said = problem({ [name]: value })
      t.ok(said.startsWith(`${name} is `), `${name}=${value}: ${said}`)
      t.match(said, expected)
    }
  }
  t.match(problem({}, ['--port', 'x']), /^--port is "x"; expected an integer/)
})

t.test('unknown settings are rejected by name', async t => {
  t.match(problem({ FANWIRE_MAX_BDOY: '1' }), /^FANWIRE_MAX_BDOY is not a setting/)
  t.match(problem({ FANWIRE_TLS: '/x' }), /^FANWIRE_TLS is not a setting/)
  t.match(problem({}, ['--prot', '80']), /"--prot" is not a flag/)
  t.match(problem({}, ['-x']), /"-x" is not a flag/)
  t.match(problem({}, ['start']), /"start" is not expected/)
  t.match(problem({}, ['--port']), /--port needs a value/)
  t.match(problem({}, ['--port', '--host', 'x']), /--port needs a value/)
  t.match(problem({}, ['--port=1', '--port=2']), /--port is given twice/)
})

t.test('all faults are reported at once', async t => {
  const lines = problem({ PORT: 'x', ROLE: 'y', FANWIRE_Z: '1' }, ['--nope']).split('\n')
  t.equal(lines.length, 4)
})

t.test('contradictory settings are rejected', async t => {
  t.match(problem({ ROLE: 'edge' }), /^ROLE is edge, which needs REDIS_URL/)
  t.match(problem({ ROLE: 'writer' }), /^ROLE is writer, which needs REDIS_URL/)
  t.equal(config({ ROLE: 'edge', REDIS_URL: 'redis://h' }).role, 'edge')
  t.match(problem({ WORKERS: '2' }), /^WORKERS is 2, which needs REDIS_URL/)
  t.equal(config({ WORKERS: '2', REDIS_URL: 'redis://h' }).workers, 2)
  t.match(
    problem({ WORKERS: '2', FANWIRE_DATA: 'd' }),
    /^WORKERS is 2, which needs REDIS_URL.* is for one process$/,
  )
  t.match(problem({ REDIS_URL: 'redis://h', FANWIRE_DATA: 'd' }), /both set/)
  t.match(problem({ FANWIRE_FSYNC: '1s' }), /FANWIRE_DATA is not/)
  t.equal(config({ FANWIRE_DATA: 'd', FANWIRE_FSYNC: '1s' }).fsync, 1000)
  for (const HOST of ['0.0.0.0', '::', '10.0.0.1', 'node-1.example']) {
    t.match(problem({ HOST }), /^HOST is .* set FANWIRE_JWT_KEYS_FILE .* or FANWIRE_INSECURE=1/)
    t.match(
      problem({ HOST, FANWIRE_PUBLISH_KEY: 'k' }),
      /nothing restricts access/,
      'a publish key does not restrict readers',
    )
    const writer = { HOST, ROLE: 'writer', REDIS_URL: 'redis://h' }
    t.match(problem(writer), /set FANWIRE_PUBLISH_KEY/)
    t.equal(config({ ...writer, FANWIRE_PUBLISH_KEY: 'k' }).host, HOST)
    for (const way of ['FANWIRE_RULES', 'FANWIRE_KEYS_FILE', 'FANWIRE_JWT_KEYS_FILE']) {
      t.equal(config({ HOST, [way]: 'file' }).host, HOST)
    }
    t.equal(config({ HOST, FANWIRE_INSECURE: '1' }).host, HOST)
    t.match(problem({ HOST, FANWIRE_INSECURE: '0' }), /FANWIRE_INSECURE=1/)
    t.match(problem({ HOST, ROLE: 'edge', REDIS_URL: 'redis://h' }), /nothing restricts access/)
  }
  for (const HOST of ['127.0.0.1', '127.9.9.9', '::1', '[::1]', 'localhost']) t.equal(problem({ HOST }), '')
})

t.test('keys of tokens come from a file or from a URL', async t => {
  const URL = { FANWIRE_JWKS_URL: 'https://id.example/jwks' }
  t.equal(config({ ...URL, FANWIRE_JWT_AUDIENCE: 'a, b' }).jwtAudience[1], 'b')
  t.match(problem(URL), /FANWIRE_JWT_AUDIENCE is not/)
  t.match(problem({ ...URL, FANWIRE_JWT_AUDIENCE: 'a', FANWIRE_JWT_KEYS_FILE: 'f' }), /both set/)
  t.match(problem({ FANWIRE_JWT_ISSUER: 'i' }), /need FANWIRE_JWKS_URL/)
  t.match(problem({ FANWIRE_TOKEN_COOKIE: 'c' }), /no keys of tokens/)
  t.equal(config({ FANWIRE_TOKEN_COOKIE: '__Host-c', FANWIRE_JWT_KEYS_FILE: 'f' }).tokenCookie, '__Host-c')
  for (const url of ['http://id.example/jwks', 'https://u:p@id.example', 'jwks']) {
    t.match(problem({ FANWIRE_JWKS_URL: url }), /^FANWIRE_JWKS_URL is malformed/)
  }
})

t.test('Redis is named by a URL', async t => {
  for (const url of [
    'redis://h',
    'rediss://h:6380',
    'redis://user:p%40w@h:6379/3',
    'redis://:pw@[::1]:6379/',
    'redis+sentinel://h:1,[::1]:2,h3/mymaster',
    'rediss+sentinel://u:p%2Fw@h/mymaster/3',
    'redis+cluster://u:pw@h:1,h2',
    'rediss+cluster://h:1/',
  ]) {
    t.equal(config({ REDIS_URL: url }).redisUrl, url)
  }
  for (const url of [
    'h:6379',
    'http://h',
    'redis://',
    'redis://h:99999',
    'redis://h/x',
    'redis://h?db=1',
    'redis://a:%zz@h',
  ]) {
    t.match(problem({ REDIS_URL: url }), /^REDIS_URL is malformed: .*; expected redis:\/\//, url)
  }
  for (const [url, why] of [
    ['redis://:s3cret@h:1,h:2', /several hosts need redis\+sentinel:\/\/ or redis\+cluster:\/\//],
    ['redis+sentinel://:s3cret@h:1,h:2', /the master's name is missing/],
    ['redis+sentinel://:s3cret@h:1,h:2/name/x', /not a database/],
    ['redis+sentinel://:s3cret@h:1,h:2/name/1/2', /not a database/],
    ['redis+cluster://:s3cret@h:1,h:2/1', /a cluster has no databases/],
    ['redis+cluster://:s3cret@h:1,,h:2', /a host is missing/],
    ['redis+cluster://:s3cret@h:0', /a host is missing, or it is not host or host:port/],
    ['redis+other://:s3cret@h', /another scheme/],
  ] as const) {
    const said = problem({ REDIS_URL: url })
    t.match(said, /^REDIS_URL is malformed: /)
    t.match(said, why)
    t.notMatch(said, /s3cret/)
  }
})

t.test('no secret is printed', async t => {
  t.notMatch(problem({ REDIS_URL: 'http://u:s3cret@h' }), /s3cret/)
  t.notMatch(problem({}, ['--redis-url', 'http://u:s3cret@h']), /s3cret/)
  t.match(problem({ FANWIRE_PUBLISH_KEY: 's3cret,,x' }), /^FANWIRE_PUBLISH_KEY is malformed; expected/)
  t.notMatch(problem({ FANWIRE_PUBLISH_KEY: 's3cret,,x' }), /s3cret/)
  t.notMatch(problem({ FANWIRE_PUBLISH_KEY: 's3 cret' }), /cret/)
})

t.test('origins are stored as browsers print them', async t => {
  const origins = (text: string) => config({ FANWIRE_ORIGINS: text }).origins
  t.strictSame(origins('*'), ['*'])
  t.strictSame(origins('https://A.example:443, http://localhost:3000'), [
    'https://a.example',
    'http://localhost:3000',
  ])
  t.strictSame(origins('https://*.A.example:443,http://*.b.example:8080'), [
    'https://*.a.example',
    'http://*.b.example:8080',
  ])
  t.strictSame(origins('capacitor://localhost,tauri://localhost,chrome-extension://AbC'), [
    'capacitor://localhost',
    'tauri://localhost',
    'chrome-extension://abc',
  ])
  for (const bad of [
    'null',
    'file://',
    'a.example',
    'https://a.example/',
    'https://a.*.example',
    '*,https://a',
    'https://*',
  ]) {
    t.throws(() => origins(bad), ConfigError, bad)
  }
})

t.test("the node's host names are stored in lower case", async t => {
  const hosts = (text: string) => config({ FANWIRE_HOSTS: text }).hosts
  t.strictSame(hosts('*'), ['*'])
  t.strictSame(hosts('Push.Example., *.b.example,10.0.0.5,[fe80::1]'), [
    'push.example',
    '*.b.example',
    '10.0.0.5',
    '[fe80::1]',
  ])
  for (const bad of ['a.example:80', 'http://a.example', 'a.*', 'a b', '*.']) {
    t.throws(() => hosts(bad), ConfigError, bad)
  }
})

t.test('loopback addresses are recognised', async t => {
  for (const host of [
    'localhost',
    'a.localhost',
    'LOCALHOST',
    '127.0.0.1',
    '127.255.0.1',
    '::1',
    '[::1]',
    '0:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
  ]) {
    t.ok(isLoopbackHost(host), host)
  }
  for (const host of [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '128.0.0.1',
    'example.com',
    'localhost.example.com',
    'notlocalhost',
    '127.0.0.1.example.com',
    '',
  ]) {
    t.notOk(isLoopbackHost(host), host)
  }
})

t.test('ports and TLS settings that conflict are rejected', async t => {
  t.match(problem({ FANWIRE_TLS_CERT: '/x' }), /FANWIRE_TLS_KEY is not: TLS needs both/)
  t.match(problem({ FANWIRE_TLS_KEY: '/x' }), /FANWIRE_TLS_CERT is not: TLS needs both/)
  t.match(problem({ PORT: '81', FANWIRE_H2C_PORT: '81' }), /FANWIRE_H2C_PORT is 81, as is PORT/)
  t.match(problem({ PORT: '81', FANWIRE_METRICS_PORT: '81' }), /FANWIRE_METRICS_PORT is 81, as is PORT/)
  t.match(
    problem({ FANWIRE_H2C_PORT: '82', FANWIRE_METRICS_PORT: '82' }),
    /FANWIRE_METRICS_PORT is 82, as is FANWIRE_H2C_PORT/,
  )
  const many = { WORKERS: '2', REDIS_URL: 'redis://127.0.0.1', FANWIRE_H2C_PORT: '0' }
  t.match(problem(many), /FANWIRE_H2C_PORT is 0, which WORKERS above 1 cannot share/)
})

t.test('--help and the documents list every setting', async t => {
  const help = printed('--help')
  t.equal(printed('-h'), help)
  const table = settingsTable()
  const texts = settingTexts()
  t.equal(texts.length, 84)
  for (const { env, flag } of texts) {
    t.match(help, new RegExp(`--${flag} .*\\b${env} `), `${env} is beside --${flag}`)
    t.ok(table.includes(`| [\`${env}\`](`), `${env} is in the table`)
  }
  t.match(help, /Example/)
  const reference = readFileSync(new URL('../../../docs/reference/settings.md', import.meta.url), 'utf8')
  t.ok(reference.includes(table), 'docs/reference/settings.md has the table that `npm run docs` makes')
  for (const line of help.split('\n')) t.ok(line.length <= 130, line)
})

t.test('--version prints the version of package.json', async t => {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
  t.equal(VERSION, version)
  t.equal(printed('--version'), version)
  t.equal(printed('-v'), version)
})
