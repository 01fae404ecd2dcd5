// Conditions, the end of a channel, erasing and transient events over HTTP.

import t, { type Test } from 'tap'
import { startMemoryNode } from '../../contract/node.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

async function start(t: Test, settings = {}) {
  const node = await startMemoryNode(settings)
  t.teardown(() => node.close())
  const ask = async (method: 'POST' | 'DELETE' | 'GET', url: string, payload?: unknown, headers = {}) => {
    const given = payload === undefined ? {} : { payload: JSON.stringify(payload) }
    const all = { host: '127.0.0.1', ...(payload === undefined ? {} : JSON_TYPE), ...headers }
    const reply = await node.app.inject({ method, url, headers: all, ...given })
    return { status: reply.statusCode, headers: reply.headers, body: reply.body === '' ? {} : reply.json() }
  }
  return { node, ask }
}

t.test('If-Match and If-None-Match: an event is appended only to the expected head', async t => {
  const { ask } = await start(t)
  const events = '/v1/channels/a/events'
  const first = await ask('POST', events, 1, { 'if-none-match': '*' })
  t.equal(first.status, 201)
  const { id } = first.body
  t.match(await ask('POST', events, 2, { 'if-none-match': '*' }), {
    status: 412,
    body: { error: { code: 'FW_HEAD_MOVED', head: id } },
  })
  const second = await ask('POST', events, 2, { 'if-match': `"${id}"` })
  t.equal(second.status, 201)
  const moved = await ask('POST', events, 3, { 'if-match': `"${id}"` })
  t.match(moved, { status: 412, body: { error: { code: 'FW_HEAD_MOVED', head: second.body.id } } })
  for (const headers of [
    { 'if-match': '*' },
    { 'if-match': id },
    { 'if-match': `W/"${id}"` },
    { 'if-match': `"${id}", "x-1"` },
    { 'if-none-match': `"${id}"` },
    { 'if-match': `"${id}"`, 'if-none-match': '*' },
  ]) {
    t.match(await ask('POST', events, 3, headers), {
      status: 400,
      body: { error: { code: 'FW_BAD_PARAMETER' } },
    })
  }
  t.equal((await ask('GET', '/v1/channels/a')).body.count, 2)
})

t.test('ifHead in bulk: each entry has its own condition', async t => {
  const { ask, node } = await start(t)
  const [id] = await node.append('a', '1')
  const entries = [
    { channel: 'a', data: 2, ifHead: id },
    { channel: 'a', data: 3, ifHead: id },
    { channel: 'a', data: 4 },
    { channel: 'b', data: 1, ifHead: 'none' },
    { channel: 'b', data: 2, ifHead: 'none' },
    { channel: 'b', data: 2, ifHead: 'nonsense' },
    { channels: ['b', 'c'], data: 2, ifHead: 'none' },
  ]
  const { body } = await ask('POST', '/v1/events', { events: entries })
  const codes = body.results.map((each: { error?: { code: string } }) => each.error?.code)
  t.same(codes, [
    undefined,
    'FW_HEAD_MOVED',
    undefined,
    undefined,
    'FW_HEAD_MOVED',
    'FW_BAD_EVENT',
    'FW_BAD_EVENT',
  ])
  t.equal(body.results[1].error.head, body.results[0].id)
})

t.test('in bulk, an entry that fails by itself is a result, even if nothing is appended', async t => {
  const { ask } = await start(t)
  const only = { events: [{ channel: 'a', data: 1, ifHead: 'none' }] }
  t.match(await ask('POST', '/v1/events', only), { status: 200, body: { results: [{ id: /-1$/ }] } })
  t.match(await ask('POST', '/v1/events', only), {
    status: 200,
    body: { results: [{ index: 0, error: { code: 'FW_HEAD_MOVED', head: /-1$/ } }] },
  })
  await ask('POST', '/v1/channels/a/end')
  t.match(await ask('POST', '/v1/events', { events: [{ channel: 'a', data: 1 }] }), {
    status: 200,
    body: { results: [{ index: 0, error: { code: 'FW_CHANNEL_ENDED' } }] },
  })
})

t.test('a channel ends, with or without a last event', async t => {
  const { ask } = await start(t)
  const end = await ask('POST', '/v1/channels/a/end?type=answer', { done: true }, { 'idempotency-key': 'k' })
  t.equal(end.status, 201)
  t.match(end.body.id, /-2$/)
  const again = await ask(
    'POST',
    '/v1/channels/a/end?type=answer',
    { done: true },
    { 'idempotency-key': 'k' },
  )
  t.same([again.status, again.body, again.headers['idempotency-replayed']], [201, end.body, 'true'])
  const refused = { status: 409, body: { error: { code: 'FW_CHANNEL_ENDED', head: end.body.id } } }
  t.match(await ask('POST', '/v1/channels/a/events', 1), refused)
  t.match(await ask('POST', '/v1/channels/a/end'), refused)
  const bulk = await ask('POST', '/v1/events', {
    events: [
      { channel: 'a', data: 1 },
      { channel: 'b', data: 1 },
    ],
  })
  t.match(bulk.body.results, [{ error: { code: 'FW_CHANNEL_ENDED' } }, { id: /-1$/ }])
  t.match((await ask('GET', '/v1/channels/a')).body, { head: end.body.id, count: 2, ended: true })
  const single = await ask('GET', `/v1/channels/a/events/${end.body.id}`)
  t.same(single.body, { end: { channel: 'a', id: end.body.id } })
  t.match((await ask('POST', '/v1/channels/c/end')).body.id, /-1$/)
  for (const query of ['type=x', 'tag.lang=ko'])
    t.equal((await ask('POST', `/v1/channels/d/end?${query}`)).status, 400)
  t.equal((await ask('POST', '/v1/channels/d/end?type=x&tag.lang=ko', 1)).status, 201)
  const { events } = (await ask('GET', '/v1/poll?channel=d')).body
  t.match(events, [{ type: 'x', tags: { lang: 'ko' }, data: 1 }])
  t.equal((await ask('POST', '/v1/channels/d/end', 1, { 'content-type': 'text/html' })).status, 415)
  const form = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '0' }
  t.equal((await ask('POST', '/v1/channels/e/end', undefined, form)).status, 201)
  t.equal((await ask('POST', '/v1/channels/e/events', 1)).status, 409)
})

t.test('in bulk, duplicates in an ended channel get their first results', async t => {
  const { ask } = await start(t)
  const known = { channel: 'a', data: 1, idempotencyKey: 'k' }
  const first = (await ask('POST', '/v1/events', { events: [known] })).body.results[0]
  await ask('POST', '/v1/channels/a/end')
  const { results } = (await ask('POST', '/v1/events', { events: [known, { channel: 'a', data: 2 }] })).body
  t.same(results[0], { ...first, replayed: true })
  t.equal(results[1].error.code, 'FW_CHANNEL_ENDED')
})

t.test('an event is erased, and a channel is cleared', async t => {
  const { ask, node } = await start(t)
  const [one = '', two = ''] = await node.append('a', '"a-secret"', '2')
  const channel = await node.hub.open('a')
  t.teardown(() => channel.release())
  await ask('GET', '/v1/poll?channel=a')
  t.match(channel.recent.list.map(({ json }) => `${json}`).join(), 'a-secret')
  const before = await ask('GET', `/v1/channels/a/events/${one}`)
  t.match(before.headers['cache-control'], /immutable/)
  t.same(await ask('DELETE', `/v1/channels/a/events/${one}`).then(({ body }) => body), {
    channel: 'a',
    id: one,
    erased: true,
  })
  t.notMatch(channel.recent.list.map(({ json }) => `${json}`).join(), 'a-secret')
  const after = await ask('GET', `/v1/channels/a/events/${one}`, undefined, {
    'if-none-match': `${before.headers.etag}`,
  })
  t.match([after.status, after.body], [200, { id: one, erased: true, data: null }])
  t.match((await ask('GET', '/v1/poll?channel=a')).body.events, [
    { id: one, erased: true },
    { id: two, data: 2 },
  ])
  t.equal((await ask('DELETE', `/v1/channels/a/events/${one}9`)).status, 404)
  t.equal((await ask('DELETE', '/v1/channels/a/events/nonsense')).status, 400)
  const { head } = (await ask('DELETE', '/v1/channels/a')).body
  t.not(head, two)
  const poll = (await ask('GET', `/v1/poll?channel=a&cursor=${two}`)).body
  t.same(poll, { events: [], cursor: head, gaps: [{ channel: 'a', from: two, to: head }] })
})

t.test('a transient event has no id, and polls do not return it', async t => {
  const { ask } = await start(t)
  const passed = await ask('POST', '/v1/channels/a/events?transient=1&type=typing', 1)
  t.equal(passed.status, 202)
  t.same(Object.keys(passed.body), ['channel', 'time'])
  const { results } = (
    await ask('POST', '/v1/events', {
      events: [
        { channel: 'a', data: 1, transient: true },
        { channel: 'a', data: 2 },
        { channel: 'a', data: 3, transient: true, idempotencyKey: 'k' },
        { channel: 'a', data: 3, transient: 'yes' },
      ],
    })
  ).body
  t.same(
    results.map((each: { id?: string; error?: { code: string } }) => each.error?.code ?? each.id?.slice(-2)),
    [undefined, '-1', 'FW_BAD_EVENT', 'FW_BAD_EVENT'],
  )
  t.equal((await ask('POST', '/v1/channels/a/events?transient=1', 1, { 'if-none-match': '*' })).status, 400)
  t.equal((await ask('GET', '/v1/poll?channel=a')).body.events.length, 1)
})
