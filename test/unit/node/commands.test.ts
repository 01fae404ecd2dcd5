// Commands that start no node, and SIGHUP, with real processes.

import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createApiKeys, parseKeysFile } from '../../../services/broker/access/api-keys.ts'
import { runNode, startNode } from '../../support/node.ts'
import { jwks, signToken, testKey, userClaims } from '../../support/tokens.ts'
import { startRedis } from '../../support/redis-server.ts'
import { until } from '../../support/until.ts'

const run = (...args: string[]) => runNode({ args })

t.test('--help lists the commands, and each has its own help', async t => {
  const { output } = await run('--help')
  const names =
    'publish follow history export import channels presence hooks explain bench key token check plan completion'
  for (const name of names.split(' ')) {
    t.match(output, new RegExp(`^  .*\\b${name}\\b`, 'm'), name)
    const own = await run(name, '--help')
    t.equal(own.code, 0)
    t.match(own.output, new RegExp(`fanwire ${name} `), name)
  }
})

t.test('key: generates a key that matches its entry', async t => {
  const { code, output } = await run(
    'key',
    '--id',
    'shop',
    '--allow',
    'publish,subscribe',
    '--channels',
    'chat:*',
  )
  t.equal(code, 0)
  const [key = '', entry = ''] = output.split('\n')
  t.match(key, /^fw_[\w-]{43}$/)
  t.match(JSON.parse(entry), { id: 'shop', allow: ['publish', 'subscribe'], channels: ['chat:*'] })
  t.notMatch(entry, key)
  t.equal(createApiKeys(parseKeysFile(`[${entry}]`)).find(key).ok, true)
  const json = JSON.parse((await run('key', '--id', 'shop', '--allow', 'admin', '--json')).output)
  t.match(json, { key: /^fw_/, entry: { id: 'shop', allow: ['admin'] } })
})

t.test('key: adds entries to a file without damaging others', async t => {
  const file = join(t.testdir(), 'keys.json')
  const made = async (id: string, ...more: string[]) =>
    run('key', '--id', id, '--allow', 'admin', '--file', file, ...more)
  const first = await made('a')
  t.equal(first.code, 0)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal((await made('b', '--until', '2099-01-31')).code, 0)
  const entries = parseKeysFile(readFileSync(file, 'utf8'))
  t.strictSame(
    entries.map(({ id }) => id),
    ['a', 'b'],
  )
  const key = first.output.split('\n').find(line => line.startsWith('fw_')) ?? ''
  t.equal(createApiKeys(entries).find(key).ok, true)
  t.notMatch(readFileSync(file, 'utf8'), key)

  const before = readFileSync(file, 'utf8')
  for (const [bad, reason] of [
    [await made('a'), 'has a key with the id a: choose another --id'],
    [await made('c d'), '--id is not 1 to 64 letters'],
    [await made('c', '--until', 'tomorrow'), '--until "tomorrow" is not a time'],
    [await made('c', '--channels', '**'), '--channels[0] "**" has'],
  ] as const) {
    t.equal(bad.code, 2)
    t.ok(bad.output.includes(reason), bad.output)
    t.notMatch(bad.output, /fw_/)
  }
  t.equal(readFileSync(file, 'utf8'), before)
  const rules = join(t.testdirName, 'rules.yaml')
  writeFileSync(rules, 'open: read')
  const other = await run('key', '--id', 'c', '--allow', 'admin', '--file', rules)
  t.equal(other.code, 2)
  t.ok(other.output.includes(`${rules}: the file is not valid JSON`), other.output)
  for (const args of [
    ['key'],
    ['key', '--id', 'x'],
    ['key', '--id', 'x', '--allow', 'sub'],
    ['key', '--nothing'],
  ]) {
    t.equal((await run(...args)).code, 2, args.join(' '))
  }
})

t.test('check: prints path, line and column', async t => {
  const folder = t.testdir({
    'good.yaml': 'channels:\n  - { match: "news", subscribe: anyone }\n',
    'bad.yaml': 'channels:\n  - { match: "news", subscribe: everybody }\n',
  })
  const [good, bad, none] = ['good.yaml', 'bad.yaml', 'none.yaml'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  const [first, second, third, misused] = await Promise.all([
    run('check', good),
    run('check', bad),
    run('check', none),
    run('check'),
  ])
  t.strictSame([first.code, first.output], [0, `${good}: 1 rule, no problem`])
  t.equal(second.code, 1)
  t.ok(second.output.startsWith(`${bad}:2:33: `), second.output)
  t.equal(third.code, 2)
  t.equal(misused.code, 2)
  const json = await Promise.all([run('check', good, '--json'), run('check', '--json', bad)])
  t.strictSame(JSON.parse(json[0].output), { ok: true, problems: [] })
  t.match(JSON.parse(json[1].output), {
    ok: false,
    problems: [{ line: 2, column: 33, message: /everybody/ }],
  })
  t.strictSame([json[0].code, json[1].code], [0, 1])
})

const ROOMS = 'channels:\n  - { match: "inbox:{user}", subscribe: user }\n'
const NEWS = `${ROOMS}  - { match: "news", subscribe: anyone }\n`

t.test("explain: prints the node's answer; acts are audited, and no secret is logged", async t => {
  const key = testKey('HS256')
  const folder = t.testdir({ 'rules.yaml': ROOMS, 'jwks.json': jwks(key) })
  const keys = join(folder, 'keys.json')
  const made = await run('key', '--id', 'console', '--allow', 'admin,publish', '--file', keys)
  const secret = made.output.split('\n').find(line => line.startsWith('fw_')) ?? ''
  const node = await startNode({
    env: {
      FANWIRE_RULES: join(folder, 'rules.yaml'),
      FANWIRE_KEYS_FILE: keys,
      FANWIRE_JWT_KEYS_FILE: join(folder, 'jwks.json'),
      FANWIRE_DURABLE_STREAMS: '1',
      FANWIRE_CENTRIFUGE: '1',
      LOG_LEVEL: 'trace',
    },
  })
  t.teardown(() => node.kill())
  const about = ['explain', '--url', node.url, '--key', secret]
  const right = ['--right', 'subscribe', '--channel', 'inbox:ada']
  const allowed = await run(...about, '--user', 'ada', ...right)
  t.strictSame(
    [allowed.code, allowed.output],
    [0, 'allowed: rule "inbox:{user}" (line 2): subscribe is user, and the user is "ada"'],
  )
  const token = signToken(key, userClaims('bob'))
  const denied = await run(...about, '--token', token, ...right)
  t.equal(denied.code, 1)
  t.match(denied.output, /^denied: rule "inbox:\{user\}" \(line 2\): \{user\} is not the user "bob"/)
  const event = await run(...about, '--user', 'ada', '--channel', 'inbox:ada', '--id', 'm3k9zq-1')
  t.strictSame([event.code, /holds no connection/.test(event.output)], [0, true], event.output)
  const wrong = await run('explain', '--url', node.url, '--key', 'fw_wr0ng', '--user', 'ada', ...right)
  t.strictSame([wrong.code, /FW_UNAUTHORIZED/.test(wrong.output)], [3, true], wrong.output)
  t.equal((await run('explain', '--user', 'ada')).code, 2)
  t.match(wrong.output, /Give --key, --key-file or FANWIRE_TOKEN/)
  const inEnvironment = { env: { FANWIRE_URL: node.url, FANWIRE_TOKEN: secret } }
  const asked = await runNode({ ...inEnvironment, args: ['explain', '--user', 'ada', ...right] })
  t.strictSame([asked.code, asked.output], [0, allowed.output])
  const hooks = await runNode({ ...inEnvironment, args: ['hooks'] })
  t.strictSame([hooks.code, hooks.output], [0, 'the rules file has no webhooks'])
  t.equal((await run('explain', '--url', 'http://127.0.0.1:1', '--user', 'ada', ...right)).code, 3)

  await fetch(`${node.url}/v1/admin/users/ada/revoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}` },
  })
  const line = JSON.parse(await node.logged(/"audit":true/)) as object
  t.match(line, { audit: true, who: 'key console', what: 'revoke', target: { user: 'ada' } })

  const path = '/v1/channels/inbox:ada'
  const ask = (method: string, path: string, bearer = secret) =>
    fetch(node.url + path, {
      method,
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      ...(method === 'POST' ? { body: '1' } : {}),
    })
  const publish = async () => ((await (await ask('POST', `${path}/events`)).json()) as { id: string }).id
  const id = await publish()
  for (const each of [`${path}/events/${id}`, path, '/v1/stream/inbox:ada'])
    t.equal((await ask('DELETE', each, token)).status, 403, each)
  t.equal((await ask('DELETE', `${path}/events/${id}`)).status, 200)
  t.equal((await ask('DELETE', path)).status, 200)
  await publish()
  t.equal((await ask('DELETE', '/v1/stream/inbox:ada')).status, 204)
  const audited = () => node.logs.filter(each => each.includes('"audit":true')).map(each => JSON.parse(each))
  await until('all are audited', () => audited().length === 4)
  t.match(audited().slice(1), [
    { who: 'key console', what: 'erase', target: { channel: 'inbox:ada', id } },
    { who: 'key console', what: 'clear', target: { channel: 'inbox:ada' } },
    { who: 'key console', what: 'clear', target: { channel: 'inbox:ada' } },
  ])
  // The server API of Centrifugo is audited too.
  for (const [method, params] of Object.entries({
    disconnect: { user: 'ada' },
    unsubscribe: { user: 'ada', channel: 'inbox:ada' },
    history_remove: { channel: 'inbox:ada' },
  })) {
    const headers = { 'x-api-key': secret }
    const body = JSON.stringify(params)
    const answer = await fetch(`${node.url}/api/${method}`, { method: 'POST', headers, body })
    t.strictSame(await answer.json(), { result: {} }, method)
  }
  await until('all are audited', () => audited().length === 7)
  t.match(audited().slice(4), [
    { who: 'key console', what: 'disconnect', target: { user: 'ada' } },
    { who: 'key console', what: 'unsubscribe', target: { user: 'ada', channel: 'inbox:ada' } },
    { who: 'key console', what: 'clear', target: { channel: 'inbox:ada' } },
  ])
  const logs = node.logs.join('\n')
  for (const hidden of [secret, token, 'fw_wr0ng']) t.notOk(logs.includes(hidden))
})

const redis = await startRedis()
t.teardown(() => redis.stop())
const REDIS = { REDIS_URL: redis.url }

for (const workers of ['1', '2']) {
  t.test(`SIGHUP reloads the rules and stops nothing, with ${workers} worker(s)`, async t => {
    const folder = t.testdir({ 'rules.yaml': ROOMS })
    const rules = join(folder, 'rules.yaml')
    const node = await startNode({
      env: { FANWIRE_RULES: rules, WORKERS: workers, ...(workers === '1' ? {} : REDIS) },
    })
    t.teardown(() => node.kill())
    const status = async () =>
      (await fetch(`${node.url}/v1/poll?channel=news`, { headers: { connection: 'close' } })).status
    t.equal(await status(), 401)
    for (let i = 0; i < 20; i++) node.signal('SIGHUP')
    writeFileSync(rules, NEWS)
    node.signal('SIGHUP')
    await until('all workers have the new rules', async () => {
      const all = await Promise.all(Array.from({ length: 8 }, status))
      return all.every(each => each === 200)
    })
    t.notMatch(node.logs.join('\n'), /stopping|a worker ended/)
    t.equal((await node.stop()).code, 0)
  })
}
