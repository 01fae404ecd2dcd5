// Channels and single events as resources.

import t from 'tap'
import { ANONYMOUS } from '../../../services/broker/access/identity.ts'
import { printPosition } from '../../../services/broker/event/position.ts'
import { startApp } from '../http/app.ts'

const draft = (data: string) => ({ data: Buffer.from(data) })

t.test('a channel has its head, tail, count, and readers on this node', async t => {
  const { app } = await startApp(t, { config: { history: { events: 2, age: 60_000, bytes: 1000 } } })
  const empty = (await app.inject('/v1/channels/news')).json()
  t.match(empty, { channel: 'news', head: /^[a-z0-9]+-0$/, tail: null, count: 0, readers: 0 })
  const receipts = await app.fanwire.publisher.append('news', [draft('1'), draft('2'), draft('3')], {
    identity: ANONYMOUS,
  })
  const [, second, third] = receipts.map(receipt => receipt.position && printPosition(receipt.position))
  const answer = await app.inject('/v1/channels/news')
  t.strictSame(answer.json(), { channel: 'news', head: third, tail: second, count: 2, readers: 0 })
  t.equal(answer.headers['cache-control'], 'no-cache')
})

t.test('an event is the same object as on every wire, and never changes', async t => {
  const { app, log } = await startApp(t)
  await app.fanwire.publisher.append('a.b:c~d@e_f-G', [draft('{"n":1.0, "u":"ü"}'), draft('[]')], {
    identity: ANONYMOUS,
  })
  const page = await log.read('a.b:c~d@e_f-G', 'earliest', { events: 9, bytes: 999 })
  for (const event of page.events) {
    const id = printPosition(event)
    const answer = await app.inject(`/v1/channels/a.b:c~d@e_f-G/events/${id}`)
    t.equal(answer.statusCode, 200)
    t.same(answer.rawPayload, event.json, 'the event is the same byte for byte')
    t.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
    t.equal(answer.headers['cache-control'], 'public, max-age=31536000, immutable')
    t.equal(answer.headers.etag, `"${id}"`)
    const asked = { url: `/v1/channels/a.b:c~d@e_f-G/events/${id}`, headers: { authorization: 'Bearer k' } }
    const own = await app.inject(asked)
    t.equal(
      own.headers['cache-control'],
      'private, max-age=31536000, immutable',
      'shared caches do not store it',
    )
    for (const known of [`"${id}"`, `W/"${id}"`, `"x", "${id}"`, '*']) {
      const again = await app.inject({
        url: `/v1/channels/a.b:c~d@e_f-G/events/${id}`,
        headers: { 'if-none-match': known },
      })
      t.equal(again.statusCode, 304)
      t.equal(again.body, '')
    }
  }
})

t.test('an unknown or trimmed event is 404', async t => {
  const { app } = await startApp(t, { config: { history: { events: 1, age: 60_000, bytes: 1000 } } })
  const receipts = await app.fanwire.publisher.append('a', [draft('1'), draft('2')], { identity: ANONYMOUS })
  const epoch = receipts[0]?.position?.epoch
  for (const id of [
    `${epoch}-0`,
    `${epoch}-1`,
    `${epoch}-3`,
    `${epoch}-9007199254740991`,
    'other-1',
    'other-2',
  ]) {
    const answer = await app.inject(`/v1/channels/a/events/${id}`)
    t.equal(answer.statusCode, 404, id)
    t.match(answer.json(), { error: { code: 'FW_EVENT_NOT_FOUND' } })
  }
  t.equal((await app.inject(`/v1/channels/a/events/${epoch}-2`)).statusCode, 200)
})

t.test('malformed names, ids and parameters are 400', async t => {
  const { app } = await startApp(t)
  const cases: [string, string][] = [
    ['/v1/channels/a%20b', 'FW_BAD_CHANNEL'],
    [`/v1/channels/${'a'.repeat(201)}`, 'FW_BAD_CHANNEL'],
    ['/v1/channels/fanwire:probe', 'FW_BAD_CHANNEL'],
    ['/v1/channels/a%252fb', 'FW_BAD_CHANNEL'],
    ['/v1/channels/a%2f..%2fb', 'FW_BAD_CHANNEL'],
    ['/v1/channels/..%2fb/events/x-1', 'FW_BAD_CHANNEL'],
    ['/v1/channels/a%2f.', 'FW_BAD_CHANNEL'],
    ['/v1/channels/%66anwire%3Aprobe', 'FW_BAD_CHANNEL'],
    ['/v1/channels/%C3%BC/events/x-1', 'FW_BAD_CHANNEL'],
    ['/v1/channels/a/events/x', 'FW_BAD_CURSOR'],
    ['/v1/channels/a/events/X-1', 'FW_BAD_CURSOR'],
    ['/v1/channels/a/events/x-01', 'FW_BAD_CURSOR'],
    ['/v1/channels/a/events/latest', 'FW_BAD_CURSOR'],
    ['/v1/channels/a?limit=1', 'FW_BAD_PARAMETER'],
    ['/v1/channels/a/events/x-1?x', 'FW_BAD_PARAMETER'],
  ]
  for (const [url, code] of cases) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 400, url)
    t.equal(answer.json().error.code, code, url)
  }
})

t.test('an unavailable log is 503', async t => {
  const { app, log } = await startApp(t)
  await log.close()
  for (const url of ['/v1/channels/a', '/v1/channels/a/events/x-1']) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 503)
    t.equal(answer.json().error.code, 'FW_LOG_UNAVAILABLE')
  }
})
