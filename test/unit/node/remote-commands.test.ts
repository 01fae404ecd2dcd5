// Commands that send requests to a node, and commands about tokens.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocketServer } from 'ws'
import { runCommand } from '../../../services/commands/index.ts'
import { freePort } from '../../../infra/local/ports.ts'
import { startRedis } from '../../support/redis-server.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { launchCommand } from '../../support/launch-command.ts'
import { startNode } from '../../support/node.ts'
import { jwks, segment, signToken, testKey, userClaims } from '../../support/tokens.ts'
import { until } from '../../support/until.ts'

function run(url: string, input: string, ...args: string[]) {
  const { child, ended } = launchCommand(url, ...args)
  child.stdin.end(input)
  return ended
}

/** Runs the command in this process, and returns its output. */
async function here(t: Test, ...args: string[]): Promise<{ code: number | undefined; out: string }> {
  const out = t.capture(process.stdout, 'write', () => true)
  const err = t.capture(process.stderr, 'write', () => true)
  const code = await runCommand(args)
  const text = [...out(), ...err()].map(({ args }) => String(args[0])).join('')
  out.restore()
  err.restore()
  return { code, out: text }
}

t.test('publish, history and channels', async t => {
  const node = await startMemoryNode()
  const url = `http://127.0.0.1:${node.port}`
  t.teardown(() => node.close())
  const [one, many, broken] = await Promise.all([
    run(url, '', 'publish', 'news', 'hello', '--type', 'post'),
    run(url, Array.from({ length: 3000 }, (_, n) => `{"n":${n}}\n`).join(''), 'publish', 'many', '-'),
    run(url, '1\n{"n":\n', 'publish', 'broken'),
  ])
  t.match(one, { code: 0, out: /^\w+-1\n$/ })
  t.match(many, { code: 0, err: /3000 events published/ })
  t.match(broken, { code: 1, err: /line 2 is not JSON: --text/ })
  const history = await here(t, 'history', 'many', '--url', url, '--limit', '3', '--json')
  t.strictSame(
    history.out
      .trim()
      .split('\n')
      .map(line => (JSON.parse(line) as { data: { n: number } }).data.n),
    [2997, 2998, 2999],
  )
  t.match(await here(t, 'channels', 'many', '--url', url), { code: 0, out: /many {2}3000 events/ })
  const never = await here(t, 'channels', 'never', '--url', url)
  t.match(never, { code: 0, out: /^never {2}0 events {2}\S+ {2}0 readers on this node\n$/ })
  const first = await here(t, 'history', 'broken', '--url', url, '--json')
  t.match(first.out, /"data":1}\n$/, 'lines before an invalid line are published')
})

const linesOf = ({ out }: { out: string }) => out.split('\n').filter(line => line.startsWith('{'))

t.test('history: pages back to the limit, oldest or newest first', async t => {
  const node = await startMemoryNode()
  const url = `http://127.0.0.1:${node.port}`
  t.teardown(() => node.close())
  for (let n = 1; n <= 2500; n++) await node.append('long', `${n}`)
  const numbers = async (...args: string[]) =>
    linesOf(await here(t, 'history', 'long', '--url', url, '--json', ...args)).map(
      line => (JSON.parse(line) as { data: number }).data,
    )
  const newest = Array.from({ length: 2100 }, (_, i) => 401 + i)
  t.strictSame(await numbers('--limit', '2100'), newest)
  t.strictSame(await numbers('--limit', '2100', '--reverse'), newest.toReversed())
  t.equal((await numbers()).length, 20)
  const [epoch] = (JSON.parse((await node.get('/v1/channels/long')).body) as { head: string }).head.split('-')
  t.strictSame(await numbers('--before', `${epoch}-4`), [1, 2, 3])
  t.strictSame(await numbers('--before', `${epoch}-4`, '--after', `${epoch}-2`), [3])
  const gone = await here(t, 'history', 'long', '--url', url, '--after', 'gone-7', '--limit', '9999')
  t.match(gone.out, /events of long after gone-7, up to \w+-\d+, may be lost/)
  for (const bad of ['0', '10001', 'all'])
    t.match(await here(t, 'history', 'long', '--url', url, '--limit', bad), { code: 2, out: /1 to 10000/ })
})

t.test('export and import: data byte for byte, bytes, types and tags', async t => {
  const node = await startMemoryNode()
  const url = `http://127.0.0.1:${node.port}`
  t.teardown(() => node.close())
  const post = (query: string, type: string, body: string | Uint8Array<ArrayBuffer>) =>
    fetch(`${url}/v1/channels/first/events${query}`, {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    })
  await post('?type=big&tag.lang=ko', 'application/json', '{"id":12345678901234567890, "price":1.0}')
  await post('', 'text/plain', 'é "quoted"\u2028🎉')
  await post('?type=image', 'application/octet-stream', Uint8Array.from([0, 255, 62, 63]))
  await post('', 'application/json', '[]')
  const exported = (channel: string) => here(t, 'export', channel, '--url', url)
  const out = await exported('first')
  const lines = linesOf(out).join('\n')
  t.match(await run(url, lines, 'import', 'second'), { code: 0, err: /4 events imported/ })
  const copy = linesOf(await exported('second'))
  const rest = (line: string) => line.slice(line.indexOf(',', line.indexOf('"time":')))
  t.equal(copy.length, 4)
  t.strictSame(copy.map(rest), linesOf(out).map(rest))
  t.match(copy[0], /"type":"big","tags":{"lang":"ko"},"data":{"id":12345678901234567890, "price":1.0}}$/)
  t.match(copy[2], /"encoding":"base64","data":"AP8\+Pw=="}$/)
  const [again, ...bad] = await Promise.all(
    [lines, '[1]', '{"id":"a-1"}', '{', '{"data":"?","encoding":"base64"}'].map((input, i) =>
      run(url, input, 'import', i === 0 ? 'second' : 'third'),
    ),
  )
  t.equal(again?.code, 0)
  t.equal(linesOf(await exported('second')).length, 4, 'existing events are not published again')
  for (const each of bad.slice(0, 3)) t.match(each, { code: 1, err: /line 1 .*output of fanwire export/ })
  t.match(bad[3], { code: 1, err: /FW_BAD_EVENT.*base64/ })
  t.match(await exported('third'), { code: 0, out: /0 events exported/ })
})

t.test(
  'follow and publish wait for a restart: no line is lost or repeated; follow ends at the head',
  async t => {
    const redis = await startRedis()
    const port = await freePort()
    const settings = { env: { PORT: `${port}`, REDIS_URL: redis.url } }
    let node = await startNode(settings)
    t.teardown(async () => {
      await node.kill()
      await redis.stop()
    })
    const publish = async (data: number) => {
      const headers = { 'content-type': 'application/json' }
      await fetch(`${node.url}/v1/channels/news/events`, { method: 'POST', headers, body: `${data}` })
    }
    const { child, ended, lines } = launchCommand(node.url, 'follow', 'news', '--cursor', 'earliest')
    for (let n = 1; n <= 20; n++) await publish(n)
    await until('it prints', () => lines().length === 20)
    const pipe = launchCommand(node.url, 'publish', 'piped', '-', '--json')
    pipe.child.stdin.write('"before"\n')
    await until('it prints the receipt while the pipe is open', () => pipe.lines().length === 1)
    await node.kill()
    pipe.child.stdin.end('"after"\n')
    await until('publish reports that it waits', () =>
      /could not be reached: .*; trying again/.test(pipe.remarks()),
    )
    node = await startNode(settings)
    t.match(await pipe.ended, { code: 0, out: /-1"[^]*-2"/ }, 'publish waits for a node that answered before')
    for (let n = 21; n <= 40; n++) await publish(n)
    await until('it continues', () => lines().length >= 40)
    t.strictSame(
      lines().map(line => (JSON.parse(line) as { data: number }).data),
      Array.from({ length: 40 }, (_, n) => n + 1),
    )
    child.kill('SIGINT')
    t.equal((await ended).code, 0)
    const whole = await run(node.url, '', 'follow', 'news', '--cursor', 'earliest', '--until', 'head')
    t.equal(whole.code, 0)
    t.equal(whole.out.trim().split('\n').length, 40)
  },
)

t.test('channels lists all pages, and names nodes that did not answer', async t => {
  const pages = new Map([
    ['limit=1000', { channels: [{ channel: 'a', readers: 1 }], silent: ['n2'], next: 'a' }],
    ['limit=1000&after=a', { channels: [{ channel: 'b', readers: 2 }], silent: ['n2'] }],
  ])
  const server = createServer((request, response) =>
    response.end(JSON.stringify(pages.get(request.url?.split('?')[1] ?? '') ?? {})),
  )
  t.teardown(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { code, out } = await here(t, 'channels', '--url', url)
  t.equal(code, 0)
  t.equal(out, 'a  readers 1\nb  readers 2\nfanwire: node n2 did not answer: its channels may be missing\n')
})

t.test('a byte order mark is no part of the input', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const url = `http://127.0.0.1:${node.port}`
  t.match(await run(url, '\ufeff{"n":1}\n', 'publish', 'marked'), { code: 0, err: /1 event published/ })
  t.match(await run(url, '\ufeff"x"\n', 'publish', 'marked', '--text'), { code: 0 })
  const [, text = ''] = linesOf(await here(t, 'export', 'marked', '--url', url))
  t.match(JSON.parse(text), { data: '"x"' })
  t.match(await run(url, `\ufeff${text}\n`, 'import', 'copy'), { code: 0, err: /1 event imported/ })
  const keys = join(t.testdir({ 'k.json': `\ufeff${jwks(testKey('HS256'))}` }), 'k.json')
  const minted = await here(t, 'token', 'mint', '--user', 'ada', '--keys', keys)
  t.match(await here(t, 'token', 'check', minted.out.trim(), '--keys', keys), { code: 0 })
})

t.test('follow --until ends at the end, and prints nothing beyond it', async t => {
  const node = await startMemoryNode()
  const url = `http://127.0.0.1:${node.port}`
  t.teardown(() => node.close())
  const publish = async (type: string) => {
    const headers = { 'content-type': 'application/json' }
    const path = `${url}/v1/channels/orders/events?type=${type}`
    const answer = await fetch(path, { method: 'POST', headers, body: '1' })
    return ((await answer.json()) as { id: string }).id
  }
  const [first, head] = [await publish('a'), await publish('b')]
  const lines = async (...args: string[]) => {
    const { code, out } = await here(t, 'follow', 'orders', '--url', url, ...args)
    t.equal(code, 0, args.join(' '))
    return linesOf({ out }).map(line => (JSON.parse(line) as { id: string }).id)
  }
  t.strictSame(await lines('--cursor', 'earliest', '--until', 'head'), [first, head])
  t.strictSame(await lines('--cursor', 'earliest', '--until', 'head', '--types', 'a'), [first])
  t.strictSame(await lines('--cursor', head, '--until', 'head'), [])
  t.strictSame(await lines('--until', 'head'), [])
  t.strictSame(await lines('--cursor', 'earliest', '--until', first), [first])
  t.strictSame(await lines('--cursor', 'earliest', '--until', '2026-01-01T00:00:00Z'), [])
  const several = ['empty', '--cursor', 'earliest', '--until', 'head']
  t.strictSame(await lines(...several), [first, head], 'also for several channels, one of them empty')
  for (const bad of [
    ['--until', 'soon'],
    ['--until', 'head', '--wire', 'ws'],
  ])
    t.match(await here(t, 'follow', 'orders', '--url', url, ...bad), { code: 2, out: /--until/ })
})

t.test('follow ends if the node rejects the token, or wants no other connection', async t => {
  const folder = t.testdir({ 'k.json': jwks(testKey('HS256')) })
  const node = await startMemoryNode({ JWT_KEYS_FILE: join(folder, 'k.json') })
  const server = createServer((_, response) => response.writeHead(404).end())
  t.teardown(() => [node.close(), server.close()])
  const url = `http://127.0.0.1:${node.port}`
  for (const wire of ['ws', 'sse'])
    t.match(await here(t, 'follow', 'news', '--url', url, '--token', 'a.b.c', '--wire', wire), {
      code: 1,
      out: /FW_UNAUTHORIZED: .*token.*fanwire token check/,
    })
  new WebSocketServer({ server }).on('connection', socket => socket.close(4501, 'kicked'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const kicks = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  t.match(await here(t, 'follow', 'news', '--url', kicks, '--wire', 'ws'), { code: 1, out: /kicked/ })
})

t.test('follow --until and export resume a stream that breaks', async t => {
  const asked: (string | null)[] = []
  const server = createServer((request, response) => {
    asked.push(new URL(request.url ?? '', 'http://x').searchParams.get('cursor'))
    if (asked.length === 1)
      return response.write(
        '{"open":{"cursor":"e-0"}}\n\n{"channel":"x","id":"e-1","time":1,"data":1}\n{"ch',
        () => response.destroy(),
      )
    if (asked.length === 2)
      return response.writeHead(503).end('{"error":{"code":"FW_DRAINING","message":"it stops"}}')
    return response.end(
      '{"channel":"x","id":"e-2","time":1,"data":2}\n{"close":{"code":1000,"reason":"until"}}\n',
    )
  })
  t.teardown(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  for (const args of [
    ['follow', 'x', '--cursor', 'earliest', '--until', 'e-2'],
    ['export', 'x'],
  ]) {
    asked.length = 0
    const { code, out } = await here(t, ...args, '--url', url)
    t.equal(code, 0, out)
    t.strictSame(
      linesOf({ out }).map(line => (JSON.parse(line) as { data: number }).data),
      [1, 2],
    )
    t.strictSame(asked, ['earliest', 'e-1', 'e-1'])
    t.match(out, /FW_DRAINING: it stops; trying again/)
  }
})

t.test('errors say what to do next', async t => {
  t.match(await here(t, 'channels', 'news', '--url', 'http://127.0.0.1:1'), {
    code: 3,
    out: /could not be reached: .*Is a node running there\?/,
  })
  t.match(await here(t, 'publish', 'news', '1', '--url', 'http://127.0.0.1:1'), {
    code: 3,
    out: /could not be reached: .*Is a node running there\?/,
  })
  t.match(await here(t, 'follow'), { code: 2, out: /name a channel; fanwire follow --help/ })
  t.match(await here(t, 'channels', 'a', '--url', 'nonsense'), { code: 2, out: /not the URL of a node/ })
  const node = await startMemoryNode({
    JWT_KEYS_FILE: join(t.testdir({ 'k.json': jwks(testKey('HS256')) }), 'k.json'),
  })
  t.teardown(() => node.close())
  const url = `http://127.0.0.1:${node.port}`
  t.match(await here(t, 'channels', 'a', '--url', url, '--token', 'a.b.c'), {
    code: 1,
    out: /FW_UNAUTHORIZED.*fanwire token check/,
  })
})

t.test('a reader that closes the pipe ends the command', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  for (let n = 1; n <= 3000; n++) await node.append('long', `"${'x'.repeat(200)}"`)
  const lines = Array.from({ length: 3000 }, () => `"${'x'.repeat(200)}"\n`).join('')
  for (const [args, input] of [
    [['export', 'long'], ''],
    [['history', 'long', '--limit', '3000'], ''],
    [['publish', 'more', '--json'], lines],
  ] as const) {
    const { child, ended } = launchCommand(`http://127.0.0.1:${node.port}`, ...args)
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    child.stdout.once('data', () => child.stdout.destroy())
    t.match(await ended, { code: 0, err: '' }, args[0])
  }
})

t.test('completion lists the commands and their flags', async t => {
  for (const shell of ['bash', 'zsh', 'fish'])
    t.match(await here(t, 'completion', shell), { code: 0, out: /follow[^]*until/ }, shell)
  for (const name of ['start', 'bench', 'plan', 'completion', 'import'])
    t.match((await here(t, 'completion', 'bash')).out, new RegExp(`words='.*\\b${name}\\b`), name)
  t.match((await here(t, 'completion', 'bash')).out, /start\) words='.*--redis-url/)
  t.match(await here(t, 'completion', 'tcsh'), { code: 2 })
})

t.test('token: the key set is that of the node unless --keys names another', async t => {
  const [key, other] = [testKey('HS256', 'main'), testKey('HS256', 'main')]
  const folder = t.testdir({ 'node.json': jwks(key), 'other.json': jwks(other) })
  const fine = signToken(key, userClaims('ada'))
  t.match(await here(t, 'token', 'check', fine), { code: 0, out: /set FANWIRE_JWT_KEYS_FILE/ })
  t.match(await here(t, 'token', 'mint', '--user', 'ada'), {
    code: 2,
    out: /FANWIRE_JWT_KEYS_FILE is not set/,
  })
  process.env.FANWIRE_JWT_KEYS_FILE = join(folder, 'node.json')
  t.teardown(() => delete process.env.FANWIRE_JWT_KEYS_FILE)
  t.match(await here(t, 'token', 'check', fine), { code: 0, out: /^user "ada"/ })
  t.match(await here(t, 'token', 'check', signToken(other, userClaims('ada'))), {
    code: 1,
    out: /^refused: signature/,
  })
  t.match(await here(t, 'token', 'check', fine, '--keys', join(folder, 'other.json')), { code: 1 })
  const minted = (await here(t, 'token', 'mint', '--user', 'ada')).out.trim()
  t.match(await here(t, 'token', 'check', minted), { code: 0 })
  const json = JSON.parse((await here(t, 'token', 'mint', '--user', 'ada', '--json')).out) as {
    token: string
  }
  t.match(await here(t, 'token', 'check', json.token), { code: 0 })
})

t.test('token: minted tokens are valid, and broken ones are rejected with a reason', async t => {
  const key = testKey('HS256', 'main')
  const rsa = testKey('RS256', 'rsa')
  const folder = t.testdir({ 'jwks.json': jwks(key, rsa) })
  const keys = ['--keys', join(folder, 'jwks.json')]
  const minted = await here(
    t,
    'token',
    'mint',
    ...keys,
    '--user',
    'ada',
    '--allow',
    'sub,pub',
    '--channels',
    'chat:*',
  )
  t.equal(minted.code, 0)
  const good = await here(t, 'token', 'check', minted.out.trim(), ...keys)
  t.match(good, {
    code: 0,
    out: /^user "ada", until .*\ngrants \{"channels":\["chat:\*"\],"allow":\["sub","pub"\]\}/,
  })
  const claims = userClaims('ada')
  const now = Math.floor(Date.now() / 1000)
  const fine = signToken(key, claims)
  const [head = '', body = '', signature = ''] = fine.split('.')
  const broken: readonly [what: string, token: string, reason: string][] = [
    ['empty parts', '..', 'malformed: the token is not a JWT: three parts'],
    ['two parts', `${head}.${body}`, 'malformed: the token is not a JWT: three parts'],
    ['four parts', `${fine}.x`, 'malformed: the token is not a JWT: three parts'],
    [
      'no JSON in the header',
      `${segment('x')}.${body}.${signature}`,
      "malformed: the token's header is not a JSON object",
    ],
    ['no JSON in the claims', signToken(key, 'x'), "malformed: the token's claims are not a JSON object"],
    ['claims that are a list', signToken(key, []), "malformed: the token's claims are not a JSON object"],
    [
      'another signature',
      `${head}.${body}.${signToken(testKey('HS256', 'main'), claims).split('.')[2]}`,
      "signature: the token's signature is not that of its key",
    ],
    [
      'changed claims',
      `${head}.${segment(userClaims('bob'))}.${signature}`,
      "signature: the token's signature is not that of its key",
    ],
    ['no signature', `${head}.${body}.`, "signature: the token's signature is not that of its key"],
    ['alg none', signToken(key, claims, { alg: 'none' }), 'algorithm: the token is not signed'],
    [
      'another alg',
      signToken(key, claims, { alg: 'HS512' }),
      "algorithm: the token's algorithm is not that of its key",
    ],
    [
      'HS under an RSA key',
      signToken(key, claims, { kid: 'rsa' }),
      "algorithm: the token's algorithm is not that of its key",
    ],
    ['an unknown kid', signToken(key, claims, { kid: 'other' }), 'unknown_key: the key that the token names'],
    ['jku', signToken(key, claims, { jku: 'https://x/' }), "header: the token's header has jku"],
    ['an embedded key', signToken(key, claims, { jwk: {} }), "header: the token's header has jwk"],
    ['crit', signToken(key, claims, { crit: ['x'] }), "header: the token's header has crit"],
    ['expired', signToken(key, { ...claims, exp: now - 60 }), 'expired: the token expired'],
    ['not yet', signToken(key, { ...claims, nbf: now + 600 }), 'not_yet: the token is not valid yet'],
    ['a user that is not a string', signToken(key, { ...claims, sub: 7 }), 'claims: sub is not a string'],
    [
      'invalid caps',
      signToken(key, { ...claims, caps: [{ channels: '*', allow: ['all'] }] }),
      'claims: caps[0].channels is not a list',
    ],
    [
      'too long',
      signToken(key, { ...claims, info: 'x'.repeat(9000) }),
      'too_large: the token is longer than 8192 bytes',
    ],
  ]
  for (const [what, token, reason] of broken) {
    const { code, out } = await here(t, 'token', 'check', token, ...keys)
    t.equal(code, 1, what)
    t.ok(out.startsWith(`refused: ${reason}`), `${what}: ${out}`)
  }
  const unchecked = await here(t, 'token', 'check', fine)
  t.match(unchecked, { code: 0, out: /signature was not checked/ })
  t.equal((await here(t, 'token', 'mint', ...keys)).code, 2)
  const apiKey = await here(t, 'token', 'check', 'fwk_1', ...keys)
  t.match(apiKey, { code: 1, out: /copy the whole token, .*fanwire token mint.*An API key is not a token/ })
})
