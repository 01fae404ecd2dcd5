import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { LogUnavailable } from '../../../services/broker/log/log.ts'
import { folder } from '../../support/folder.ts'
import { lines, Post, startNode } from './node.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const URL = '/v1/channels/news/events'

t.test('JSON is kept byte for byte, except that line breaks between tokens become spaces', async t => {
  const node = await startNode(t)
  const sent = [
    '{"a":1.10,"b":1e999,"big":12345678901234567890,"__proto__":{"x":1},"a":2}',
    '\n{\r\n "a" : "\\n\\u0000\\ud800" }\n',
    'null',
    '"é 🎉 \u2028"',
    '-0.0',
    '[[[[[]]]],{"constructor":{"prototype":null}}]',
  ]
  for (const payload of sent) {
    const answer = await node.app.inject({ method: 'POST', url: URL, headers: JSON_TYPE, payload })
    t.equal(answer.statusCode, 201, answer.body)
  }
  t.same(
    await node.data('news'),
    sent.map(text => text.replaceAll(/[\r\n]/g, ' ')),
  )
})

t.test('201 reports channel, id and time', async t => {
  const node = await startNode(t)
  const answer = await node.app.inject({ method: 'POST', url: URL, headers: JSON_TYPE, payload: '{}' })
  const [event] = await node.events('news')
  t.equal(answer.statusCode, 201)
  t.same(answer.json(), { channel: 'news', id: event?.id, time: event?.time })
})

t.test('text becomes a JSON string, bytes become base64; both may be empty', async t => {
  const node = await startNode(t)
  const send = (type: string, payload: string | Buffer) =>
    node.app.inject({ method: 'POST', url: URL, headers: { 'content-type': type }, payload })
  const sent: [string, string | Buffer][] = [
    ['text/plain', 'a "quote"\r\n\u2028é'],
    ['Text/Plain; Charset="UTF-8"', ''],
    ['application/octet-stream', Buffer.from([0, 255, 10])],
    ['application/octet-stream', ''],
  ]
  for (const [type, payload] of sent) t.equal((await send(type, payload)).statusCode, 201)
  t.match(await node.events('news'), [
    { data: 'a "quote"\r\n\u2028é', encoding: undefined },
    { data: '', encoding: undefined },
    { data: 'AP8K', encoding: 'base64' },
    { data: '', encoding: 'base64' },
  ])
})

t.test('type and priority are parameters', async t => {
  const node = await startNode(t)
  const send = (query: string) =>
    node.app.inject({ method: 'POST', url: URL + query, headers: JSON_TYPE, payload: '1' })
  for (const query of ['?type=post&priority=low', '?priority=high', '?']) {
    t.equal((await send(query)).statusCode, 201)
  }
  const { events } = await node.log.read('news', 'earliest', { events: 10, bytes: 1e6 })
  t.match(events, [
    { type: 'post', low: true },
    { type: undefined, low: false },
    { type: undefined, low: false },
  ])
})

t.test('tags follow the type, in the given order', async t => {
  const node = await startNode(t)
  const send = (query: string) =>
    node.app.inject({ method: 'POST', url: URL + query, headers: JSON_TYPE, payload: '1' })
  const query = `?tag.lang=ko&type=post&tag.__proto__=%C3%A9%20%22&tag.2=`
  t.equal((await send(query)).statusCode, 201)
  const { events } = await node.log.read('news', 'earliest', { events: 10, bytes: 1e6 })
  t.match(
    events[0]?.json.toString(),
    String.raw`"type":"post","tags":{"lang":"ko","__proto__":"\u00e9 \"","2":""},"data":1}`,
  )
  t.same(
    [...(events[0]?.tags ?? [])],
    [
      ['lang', 'ko'],
      ['__proto__', 'é "'],
      ['2', ''],
    ],
  )
  const many = Array.from({ length: 17 }, (_, i) => `tag.t${i}=1`).join('&')
  for (const bad of ['tag.=1', 'tag.a%20b=1', `tag.a=${'x'.repeat(257)}`, many]) {
    const answer = await send(`?${bad}`)
    t.equal(answer.json().error?.code, 'FW_BAD_TAG', bad)
  }
  t.equal((await send('?tag.a=1&tag.a=2')).json().error.code, 'FW_BAD_PARAMETER')
  t.equal((await send('?tags.a=1')).json().error.code, 'FW_BAD_PARAMETER')
})

t.test('a duplicate with the same idempotency key gets the first result and appends nothing', async t => {
  const node = await startNode(t)
  const send = (payload: string) =>
    node.app.inject({
      method: 'POST',
      url: URL,
      headers: { ...JSON_TYPE, 'idempotency-key': 'k1' },
      payload,
    })
  const first = await send('1')
  const repeat = await send('2')
  t.equal(first.statusCode, 201)
  t.equal(first.headers['idempotency-replayed'], undefined)
  t.equal(repeat.statusCode, 201)
  t.equal(repeat.headers['idempotency-replayed'], 'true')
  t.same(repeat.json(), first.json())
  t.same(await node.data('news'), ['1'])
})

t.test('an invalid publish is rejected with a code', async t => {
  const node = await startNode(t, { maxBody: 64 })
  const key = (value: string) => ({ ...JSON_TYPE, 'idempotency-key': value })
  const cases: [string, number, string, string, Record<string, string>, string | Buffer][] = [
    ['no content type', 415, 'FW_MEDIA_TYPE', URL, {}, ''],
    ['a body without content type', 415, 'FW_MEDIA_TYPE', URL, {}, Buffer.from('1')],
    ['another content type', 415, 'FW_MEDIA_TYPE', URL, { 'content-type': 'application/xml' }, '1'],
    ['a malformed content type', 415, 'FW_MEDIA_TYPE', URL, { 'content-type': 'json' }, '1'],
    ['a form', 415, 'FW_MEDIA_TYPE', URL, { 'content-type': 'application/x-www-form-urlencoded' }, 'a=1'],
    ['latin1', 415, 'FW_MEDIA_TYPE', URL, { 'content-type': 'text/plain; charset=latin1' }, 'a'],
    ['compression', 415, 'FW_MEDIA_TYPE', URL, { ...JSON_TYPE, 'content-encoding': 'gzip' }, '1'],
    ['an empty body', 400, 'FW_BAD_JSON', URL, JSON_TYPE, ''],
    ['a broken body', 400, 'FW_BAD_JSON', URL, JSON_TYPE, '{"a":1'],
    ['two values', 400, 'FW_BAD_JSON', URL, JSON_TYPE, '1 2'],
    ['a line break in a string', 400, 'FW_BAD_JSON', URL, JSON_TYPE, '"a\nb"'],
    ['JSON not in UTF-8', 400, 'FW_BAD_ENCODING', URL, JSON_TYPE, Buffer.from([0x22, 0xff, 0x22])],
    ['text not in UTF-8', 400, 'FW_BAD_ENCODING', URL, { 'content-type': 'text/plain' }, Buffer.from([0xc0])],
    ['a large body', 413, 'FW_TOO_LARGE', URL, JSON_TYPE, `"${'x'.repeat(63)}"`],
    ['a bad channel', 400, 'FW_BAD_CHANNEL', '/v1/channels/a%20b/events', JSON_TYPE, '1'],
    ['a reserved channel', 400, 'FW_BAD_CHANNEL', '/v1/channels/fanwire:x/events', JSON_TYPE, '1'],
    ['a long channel', 400, 'FW_BAD_CHANNEL', `/v1/channels/${'x'.repeat(201)}/events`, JSON_TYPE, '1'],
    ['a reserved type', 400, 'FW_BAD_TYPE', `${URL}?type=gap`, JSON_TYPE, '1'],
    ['an empty type', 400, 'FW_BAD_TYPE', `${URL}?type=`, JSON_TYPE, '1'],
    ['a repeated parameter', 400, 'FW_BAD_PARAMETER', `${URL}?type=a&type=b`, JSON_TYPE, '1'],
    ['an unknown parameter', 400, 'FW_BAD_PARAMETER', `${URL}?typ=a`, JSON_TYPE, '1'],
    ['another priority', 400, 'FW_BAD_PARAMETER', `${URL}?priority=urgent`, JSON_TYPE, '1'],
    ['an empty key', 400, 'FW_BAD_IDEMPOTENCY_KEY', URL, key(''), '1'],
    ['a key with a space', 400, 'FW_BAD_IDEMPOTENCY_KEY', URL, key('a b'), '1'],
    ['a long key', 400, 'FW_BAD_IDEMPOTENCY_KEY', URL, key('k'.repeat(129)), '1'],
  ]
  for (const [name, status, code, url, headers, payload] of cases) {
    const answer = await node.app.inject({ method: 'POST', url, headers, payload })
    t.equal(answer.statusCode, status, name)
    t.equal(answer.json().error.code, code, name)
  }
  t.same(await node.data('news'), [])
  const most = { method: 'POST', url: URL, headers: JSON_TYPE, payload: `"${'x'.repeat(62)}"` } as const
  t.equal((await node.app.inject(most)).statusCode, 201, 'a body of exactly the limit is accepted')
})

t.test('a channel name of 200 characters is accepted', async t => {
  const node = await startNode(t)
  const url = `/v1/channels/${'x'.repeat(200)}/events`
  t.equal((await node.app.inject({ method: 'POST', url, headers: JSON_TYPE, payload: '1' })).statusCode, 201)
})

t.test('503 with Retry-After when the log cannot confirm the event', async t => {
  const node = await startNode(t)
  node.log.through = () => Promise.reject(new LogUnavailable('away'))
  const answer = await node.app.inject({ method: 'POST', url: URL, headers: JSON_TYPE, payload: '1' })
  t.equal(answer.statusCode, 503)
  t.equal(answer.json().error.code, 'FW_LOG_UNAVAILABLE')
  t.ok(answer.headers['retry-after'])
})

t.test('the key and the origin are checked before the body is read', async t => {
  const node = await startNode(t, { publishKeys: ['secret'] })
  const send = (headers: Record<string, string>) =>
    node.app.inject({ method: 'POST', url: URL, headers: { ...JSON_TYPE, ...headers }, payload: '1' })
  t.equal((await send({})).statusCode, 401)
  t.equal((await send({ authorization: 'Bearer secret', origin: 'https://evil.example' })).statusCode, 403)
  t.equal((await send({ authorization: 'Bearer secret' })).statusCode, 201)
})

t.test("a rule's maxBody counts what was sent", async t => {
  const rulesFile = join(folder(t), 'rules.json')
  writeFileSync(rulesFile, '{"default":{"subscribe":"anyone","publish":"anyone","maxBody":"64KiB"}}')
  const node = await startNode(t, { rulesFile })
  const most = 65_536
  for (const type of ['application/octet-stream', 'text/plain']) {
    for (const [length, status] of [
      [50_000, 201],
      [most, 201],
      [most + 1, 413],
    ] as const) {
      const answer = await node.app.inject({
        method: 'POST',
        url: URL,
        headers: { 'content-type': type },
        payload: '\n'.repeat(length),
      })
      t.equal(answer.statusCode, status, `${type} ${length}`)
    }
  }
  const entry = (length: number) =>
    JSON.stringify({ channel: 'a', data: Buffer.alloc(length).toString('base64'), encoding: 'base64' })
  const bulk = await node.app.inject({
    method: 'POST',
    url: '/v1/events',
    headers: JSON_TYPE,
    payload: `{"events":[${entry(most)},${entry(most + 1)}]}`,
  })
  t.match(bulk.json().results, [{ id: String }, { error: { code: 'FW_TOO_LARGE' } }])
})

t.test('a body in many pieces is accepted over a real connection', async t => {
  const node = await startNode(t)
  const post = new Post(await node.listen(), URL, JSON_TYPE)
  const text = `{"é":"${'🎉'.repeat(5000)}"}`
  for (const byte of Buffer.from(text)) await post.write(Buffer.of(byte))
  post.request.end()
  t.equal((await post.answer).statusCode, 201)
  t.same(await node.data('news'), [text])
})

t.test('a client that uploads or declares a body that is too large receives 413', async t => {
  const node = await startNode(t, { maxBody: 1000 })
  const port = await node.listen()
  for (const headers of [{ ...JSON_TYPE, 'content-length': 2_000_000 }, JSON_TYPE]) {
    const post = new Post(port, URL, headers)
    for (let sent = 0; sent < 2_000_000; sent += 10_000) await post.write('x'.repeat(10_000))
    post.request.end()
    t.equal((await post.answer).statusCode, 413)
    t.equal(lines(await post.text())[0] !== undefined, true)
  }
})

t.test('a body that stalls or never ends times out', async t => {
  const node = await startNode(t, {}, { times: { idle: 30, total: 120 } })
  const port = await node.listen()
  const still = new Post(port, URL, { ...JSON_TYPE, 'content-length': 10 })
  await still.write('"a')
  t.equal((await still.answer).statusCode, 408)
  still.request.destroy()
  const slow = new Post(port, URL, JSON_TYPE)
  const drip = setInterval(() => slow.request.write(' '), 10)
  t.equal((await slow.answer).statusCode, 408)
  clearInterval(drip)
  slow.request.destroy()
})

t.test('a client that disconnects in the middle of its body publishes nothing', async t => {
  const node = await startNode(t)
  const gone = new Promise(resolve => {
    node.app.server.once('connection', socket => socket.once('close', resolve))
  })
  const post = new Post(await node.listen(), URL, { ...JSON_TYPE, 'content-length': 3 })
  await post.write('12')
  node.app.server.once('request', () => post.request.destroy())
  post.request.flushHeaders()
  await gone
  t.same(await node.data('news'), [])
})
