import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LogUnavailable } from '../../../services/broker/log/log.ts'
import { folder } from '../../support/folder.ts'
import { startNode, type TestNode } from './node.ts'

const URL = '/v1/events'
const JSON_TYPE = { 'content-type': 'application/json' }

/** A file of rules: nobody may publish to `closed`. */
function rulesFile(t: Test): string {
  const path = join(folder(t), 'rules.json')
  writeFileSync(
    path,
    '{"channels":[{"match":"closed","publish":"nobody"}],"default":{"subscribe":"anyone","publish":"anyone"}}',
  )
  return path
}

function send(node: TestNode, payload: string | Buffer, headers: Record<string, string> = {}) {
  return node.app.inject({ method: 'POST', url: URL, headers: { ...JSON_TYPE, ...headers }, payload })
}

t.test('one result per entry, in order; a bad entry fails alone', async t => {
  const node = await startNode(t)
  const answer = await send(
    node,
    ` { "events" : [
      {"channel":"a","data":1.0,"type":"t","priority":"low"},
      {"channel":"a b","data":1},
      {"channel":"b","data":{"__proto__":1,
         "x":12345678901234567890},"idempotencyKey":"k"},
      7,
      {"channel":"b","data":2,"idempotencyKey":"k"},
      {"channels":["a","c"],"data":"both"}
    ] } `,
  )
  t.equal(answer.statusCode, 200, answer.body)
  const [a1, a2] = await node.events('a')
  const [b1] = await node.events('b')
  const [c1] = await node.events('c')
  const result = (event: Record<string, unknown> | undefined) => ({
    channel: event?.channel,
    id: event?.id,
    time: event?.time,
  })
  t.match(answer.json(), {
    results: [
      result(a1),
      { index: 1, error: { code: 'FW_BAD_CHANNEL', message: String } },
      result(b1),
      { index: 3, error: { code: 'FW_BAD_EVENT', message: String } },
      { ...result(b1), replayed: true },
      { results: [result(a2), result(c1)] },
    ],
  })
  t.equal(answer.json().results.length, 6)
  t.same(await node.data('a'), ['1.0', '"both"'])
  t.same(await node.data('b'), ['{"__proto__":1,          "x":12345678901234567890}'])
  t.match(a1, { type: 't' })
})

t.test('a request without entries has no results', async t => {
  const node = await startNode(t)
  const answer = await send(node, '{"events":[]}')
  t.equal(answer.statusCode, 200)
  t.same(answer.json(), { results: [] })
})

t.test('a request with only bad entries is 200', async t => {
  const node = await startNode(t)
  const answer = await send(node, '{"events":[1,2]}')
  t.equal(answer.statusCode, 200)
  t.match(answer.json().results, [{ index: 0 }, { index: 1 }])
})

t.test('a request that is broken as a whole publishes nothing', async t => {
  const node = await startNode(t)
  const good = '{"channel":"a","data":1}'
  const cases: [number, string, string | Buffer][] = [
    [400, 'FW_BAD_JSON', ''],
    [400, 'FW_BAD_JSON', `{"events":[${good}`],
    [400, 'FW_BAD_JSON', `{"events":[${good}]`],
    [400, 'FW_BAD_JSON', `{"events":[${good},]}`],
    [400, 'FW_BAD_JSON', `{"events":[${good},{]}`],
    [400, 'FW_BAD_JSON', `{"events":[${good}]} trailing`],
    [400, 'FW_BAD_JSON', `{"events":[${good}],}`],
    [400, 'FW_BAD_JSON', `{"events":[${good},{"channel":"a","data":01}]}`],
    [400, 'FW_BAD_JSON', `{"events":[${good}],"more":nope}`],
    [400, 'FW_BAD_EVENT', `{"events":[${good}],"more":1}`],
    [400, 'FW_BAD_EVENT', `{"events":[${good}],"events":[${good}]}`],
    [400, 'FW_BAD_EVENT', `[${good}]`],
    [400, 'FW_BAD_EVENT', good],
    [400, 'FW_BAD_EVENT', '{"events":{}}'],
    [400, 'FW_BAD_EVENT', '{}'],
    [400, 'FW_BAD_EVENT', 'null'],
    [400, 'FW_BAD_ENCODING', Buffer.from(`{"events":[${good},"\xff"]}`, 'latin1')],
    [413, 'FW_TOO_LARGE', `{"events":[${good},${'1,'.repeat(100_000)}1]}`],
    [413, 'FW_TOO_LARGE', `{"events":[${good},"${'x'.repeat(8 * 2 ** 20)}"]}`],
  ]
  for (const [status, code, payload] of cases) {
    const answer = await send(node, payload)
    const name = payload.toString('utf8').slice(0, 60)
    t.equal(answer.statusCode, status, name)
    t.equal(answer.json().error.code, code, name)
    if (status === 413) t.match(answer.json().error.message, /ndjson/)
  }
  t.same(await node.data('a'), [])
})

t.test('invalid bulk requests are rejected with a code', async t => {
  const node = await startNode(t)
  const body = '{"events":[]}'
  const query = await node.app.inject({
    method: 'POST',
    url: '/v1/events?type=a',
    headers: JSON_TYPE,
    payload: body,
  })
  t.equal(query.json().error.code, 'FW_BAD_PARAMETER')
  t.equal((await send(node, body, { 'idempotency-key': 'k' })).json().error.code, 'FW_BAD_IDEMPOTENCY_KEY')
  t.equal((await send(node, body, { 'content-type': 'text/plain' })).json().error.code, 'FW_MEDIA_TYPE')
  t.equal((await send(node, body, { 'content-encoding': 'gzip' })).json().error.code, 'FW_MEDIA_TYPE')
  const locked = await startNode(t, { publishKeys: ['secret'] })
  t.equal((await send(locked, body)).statusCode, 401)
})

t.test('an entry that is too large fails alone', async t => {
  const node = await startNode(t, { maxBody: 100 })
  const answer = await send(
    node,
    `{"events":[{"channel":"a","data":"${'x'.repeat(200)}"},{"channel":"a","data":2}]}`,
  )
  t.equal(answer.statusCode, 200)
  t.match(answer.json().results, [{ index: 0, error: { code: 'FW_TOO_LARGE' } }, { channel: 'a' }])
  t.same(await node.data('a'), ['2'])
})

t.test(
  'if the log fails, the entry fails, and later ones of its channel are not tried; other channels succeed',
  async t => {
    const node = await startNode(t)
    const tried: string[] = []
    node.log.through = async (channel, drafts, next) => {
      tried.push(...drafts.map(draft => `${channel}:${draft.data}`))
      if (channel === 'bad') throw new LogUnavailable('away')
      return next()
    }
    // More entries than one append takes, so that some are tried and later ones are not.
    const bad = Array.from({ length: 200 }, (_, at) => `{"channel":"bad","data":${at}}`)
    const answer = await send(node, `{"events":[${bad},{"channel":"good","data":1}]}`)
    t.equal(answer.statusCode, 200)
    const codes = answer.json().results.map((result: { error?: { code: string } }) => result.error?.code)
    t.equal(codes.length, 201)
    t.equal(codes[0], 'FW_LOG_UNAVAILABLE')
    t.equal(codes[199], 'FW_NOT_TRIED')
    t.equal(codes[200], undefined)
    const tries = tried.filter(each => each.startsWith('bad:')).length
    t.same(codes.slice(0, tries), new Array(tries).fill('FW_LOG_UNAVAILABLE'))
    t.same(codes.slice(tries, 200), new Array(200 - tries).fill('FW_NOT_TRIED'))
  },
)

t.test('503 with Retry-After when nothing could be appended', async t => {
  const node = await startNode(t)
  node.log.through = () => Promise.reject(new LogUnavailable('away'))
  const answer = await send(node, '{"events":[1,{"channel":"a","data":1},{"channel":"b","data":1}]}')
  t.equal(answer.statusCode, 503)
  t.equal(answer.json().error.code, 'FW_LOG_UNAVAILABLE')
  t.ok(answer.headers['retry-after'])
})

t.test('503 when the log failed, although the publisher may not publish other entries', async t => {
  const node = await startNode(t, { rulesFile: rulesFile(t) })
  const events = '{"events":[{"channel":"closed","data":1},{"channel":"a","data":1}]}'
  node.log.through = () => Promise.reject(new LogUnavailable('away'))
  const failed = await send(node, events)
  t.equal(failed.statusCode, 503)
  t.equal(failed.json().error.code, 'FW_LOG_UNAVAILABLE')
  t.ok(failed.headers['retry-after'])
  node.log.through = (_channel, _drafts, next) => next()
  t.match((await send(node, events)).json().results, [{ error: { code: 'FW_UNAUTHORIZED' } }, { id: String }])
})

t.test('a request that is refused for one reason gets its status, otherwise results', async t => {
  const node = await startNode(t, { rulesFile: rulesFile(t) })
  const [refused, moved] = ['{"channel":"closed","data":1}', '{"channel":"a","data":1,"ifHead":"x-1"}']
  t.equal((await send(node, `{"events":[${refused},${refused}]}`)).statusCode, 401)
  for (const other of [moved, '1']) {
    const answer = await send(node, `{"events":[${refused},${other}]}`)
    t.equal(answer.statusCode, 200)
    t.match(answer.json().results, [{ error: { code: 'FW_UNAUTHORIZED' } }, { index: 1, error: {} }])
  }
})

t.test('an internal fault is 500, or fails only its entry', async t => {
  const node = await startNode(t)
  node.log.through = (channel, _drafts, next) =>
    channel === 'bad' ? Promise.reject(new TypeError('a bug')) : next()
  const alone = await send(node, '{"events":[{"channel":"bad","data":1}]}')
  t.equal(alone.statusCode, 500)
  t.equal(alone.json().error.code, 'FW_INTERNAL')
  t.notMatch(alone.body, 'a bug')
  const both = await send(node, '{"events":[{"channel":"bad","data":1},{"channel":"a","data":1}]}')
  t.match(both.json().results, [{ index: 0, error: { code: 'FW_INTERNAL' } }, { channel: 'a' }])
})

t.test('an unavailable log is not tried for every channel', async t => {
  const node = await startNode(t)
  let calls = 0
  node.log.through = async () => {
    calls++
    throw new LogUnavailable('away')
  }
  const entries = Array.from({ length: 5000 }, (_, at) => `{"channel":"c${at}","data":1}`)
  t.equal((await send(node, `{"events":[${entries}]}`)).statusCode, 503)
  t.ok(calls <= 512, `${calls} appends`)
})

t.test('at most 256 events are in flight to the log, one append per channel', async t => {
  const node = await startNode(t)
  let now = 0
  let most = 0
  const busy = new Set<string>()
  node.log.through = async (channel, drafts, next) => {
    if (busy.has(channel)) throw new Error(`two appends for ${channel}`)
    busy.add(channel)
    now += drafts.length
    most = Math.max(most, now)
    await new Promise(resolve => setImmediate(resolve))
    now -= drafts.length
    busy.delete(channel)
    return next()
  }
  const many = Array.from({ length: 90 }, (_, at) => `"c${at}"`)
  const entries = Array.from(
    { length: 50 },
    (_, at) => `{"channels":[${many}],"data":${at}},{"channel":"x","data":${at}}`,
  )
  const answer = await send(node, `{"events":[${entries}]}`)
  t.equal(answer.statusCode, 200)
  t.ok(most <= 256 && most > 128, `${most} in flight`)
  const inOrder = Array.from({ length: 50 }, (_, at) => String(at))
  t.same(await node.data('c7'), inOrder)
  t.same(await node.data('x'), inOrder)
})
