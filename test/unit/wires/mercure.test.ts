// Mercure, beyond its own suite (`npm run conformance -- mercure`): EventSource, publishing like Symfony, both versions
// of its tokens, and other wires on the same channels. For invalid input, see mercure-input.test.ts.

import t from 'tap'
import { UPDATES, updateData } from '../../../services/broker/event/update.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { stopClock } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'
import { accessToken, ALL, HUB, startHub, tokenOf } from '../../support/mercure.ts'

const hub = await startHub({ MERCURE_SUBSCRIPTIONS: '1', TOKEN_QUERY: '1' })
const { node, post, publish, subscribe, at } = hub
const without = await startMemoryNode()
t.teardown(async () => {
  hub.disconnect()
  await Promise.all([node.close(), without.close()])
})

t.afterEach(() => hub.disconnect())

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
/** A response that lists subscriptions, or an error. */
interface Listed {
  readonly subscriptions: readonly { readonly topic?: string }[]
}
const books = 'https://example.com/books/'
const dataOf = (received: readonly { data: string }[]) => received.map(({ data }) => data)
function cutAll({ hub: { connections } }: Node): void {
  for (const connection of connections) connection.cut()
}
const query = (pairs: [string, string][]) => `?${new URLSearchParams(pairs)}`

t.test('without the setting its path does not exist', async t => {
  t.equal((await fetch(`http://127.0.0.1:${without.port}${HUB}?topic=a`)).status, 404)
  t.equal((await fetch(`http://127.0.0.1:${without.port}${HUB}`, { method: 'POST' })).status, 404)
})

t.test('an update is received as it was published, by topic', async t => {
  const wanted = query([
    ['topic', `${books}1`],
    ['topic', 'other'],
  ])
  const { got } = await subscribe(wanted, { types: ['sold'] })
  const given = await publish({
    topic: [`${books}1`, 'https://example.com/users/7'],
    data: '{"title": "a",\n "n": 1.50}',
    id: 'urn:uuid:1',
  })
  t.equal(given, 'urn:uuid:1')
  await publish({ topic: 'nobody', data: 'not this' })
  const id = await publish({ topic: 'other', data: 'text\n\n  of three lines', type: 'sold', retry: '1500' })
  t.match(id, /^#[a-z0-9]+-\d+$/)
  await publish({ topic: 'other', data: '"a JSON string"' })
  await publish({ topic: 'other' })
  t.match(await got(4), [
    { id: 'urn:uuid:1', type: 'message', data: '{"title": "a",\n "n": 1.50}' },
    { id, type: 'sold', data: 'text\n\n  of three lines' },
    { data: '"a JSON string"' },
    { data: '' },
  ])
})

t.test('subscribers match topics by URI templates, URL patterns, and *', async t => {
  const topics = [`${books}1`, `${books}1/pages/2`, 'https://example.com/authors/1', 'chat:é']
  const wanted: readonly (readonly [string, string, readonly number[]])[] = [
    ['topic', `${books}{id}`, [0]],
    ['topic', `${books}{id}{/more*}`, [0, 1]],
    ['topic', 'https://example.com/{+path}', [0, 1, 2]],
    ['topic', '*', [0, 1, 2, 3]],
    ['topic', 'chat:{name}', [3]],
    ['topic', '{broken', []],
    ['match', '*', [0, 1, 2, 3]],
    ['match', `${books}:id`, []],
    ['match_exact', 'chat:é', [3]],
    ['match_urlpattern', `${books}:id`, [0]],
    ['match_urlpattern', 'https://*.com/:kind/:id', [0, 2]],
    ['match_urlpattern', `${books}*`, [0, 1]],
    ['match_urlpattern', '*', [0, 1, 2, 3]],
  ]
  const subscriptions = await Promise.all(wanted.map(([name, text]) => subscribe(query([[name, text]]))))
  for (const topic of topics) await publish({ topic, data: topic })
  for (const [i, [name, text, expected]] of wanted.entries()) {
    const { got } = subscriptions[i] as (typeof subscriptions)[number]
    t.strictSame(
      dataOf(await got(expected.length)),
      expected.map(n => topics[n]),
      `${name}=${text}`,
    )
  }
})

t.test('events published to a channel reach subscribers of the topic, and vice versa', async t => {
  const { got } = await subscribe(query([['topic', 'rooms/{id}']]), { types: ['joined'] })
  const writer = bearer(ALL).headers
  const send = (channel: string, type: string, body: string, more = '') =>
    fetch(`http://127.0.0.1:${node.port}/v1/channels/${encodeURIComponent(channel)}/events${more}`, {
      method: 'POST',
      headers: { ...writer, 'content-type': type },
      body,
    })
  const first = await send('rooms/1', 'application/json', '{"n":1.50}', '?type=joined&tag.a=b')
  t.equal(first.status, 201)
  await send('rooms/1', 'text/plain', 'a text')
  await send('rooms/1', 'application/json', '1', '?transient=1')
  await publish({ topic: 'rooms/1', data: '{"by":"mercure"}' })
  t.match(await got(4), [
    { type: 'joined', data: '{"n":1.50}' },
    { data: 'a text' },
    { data: '1' },
    { data: '{"by":"mercure"}' },
  ])
  const { body } = await node.get('/v1/poll?channel=rooms/1&cursor=earliest', writer)
  t.strictSame(
    JSON.parse(body).events.map(({ data }: { data: unknown }) => data),
    [{ n: 1.5 }, 'a text', { by: 'mercure' }],
  )
})

t.test('a repeat with an idempotency key is one update', async t => {
  const { got, received } = await subscribe(query([['match', 'once']]))
  const send = () => post({ topic: 'once', data: '1' }, ALL, { 'idempotency-key': 'k1' })
  t.equal(await (await send()).text(), await (await send()).text())
  await publish({ topic: 'once', data: '2' })
  await got(2)
  t.strictSame(dataOf(received), ['1', '2'])
})

t.test('the same idempotency key in another topic is another update', async t => {
  const { got } = await subscribe(query([['topic', '*']]))
  const send = async (topic: string) =>
    (await post({ topic, data: topic }, ALL, { 'idempotency-key': 'k2' })).text()
  const [first, second, again] = [await send('first'), await send('second'), await send('first')]
  await publish({ topic: 'first', data: 'last' })
  t.match(await got(3), [{ id: first, data: 'first' }, { id: second, data: 'second' }, { data: 'last' }])
  t.equal(again, first)
})

t.test('private updates reach only subscribers with a grant for one of their topics', async t => {
  const wanted = query([['topic', 'notes/{id}']])
  const anybody = await subscribe(wanted)
  const older = await subscribe(wanted, bearer(tokenOf({ subscribe: ['users/{id}'] })))
  const detail = { actions: ['subscribe'], topics: [{ match: '/users/:id', match_type: 'urlpattern' }] }
  const newer = await subscribe(wanted, bearer(accessToken([detail])))
  const others = await subscribe(wanted, bearer(tokenOf({ subscribe: ['elsewhere'], publish: ['*'] })))
  const cookie = await subscribe(wanted, {
    headers: {
      cookie: `mercureAuthorization=${ALL}`,
      origin: `http://127.0.0.1:${node.port}`,
    },
  })
  const secure = await subscribe(wanted, {
    headers: { cookie: `__Secure-mercure_access_token=${ALL}`, 'sec-fetch-site': 'same-origin' },
  })
  const parameter = await subscribe(`${wanted}&authorization=${ALL}`)
  await publish({ topic: ['notes/1', 'users/7', '/users/7'], data: 'secret', private: '' })
  await publish({ topic: 'notes/1', data: 'for all' })
  for (const { got } of [older, newer, cookie, secure, parameter])
    t.strictSame(dataOf(await got(2)), ['secret', 'for all'])
  for (const { got } of [anybody, others]) t.strictSame(dataOf(await got(1)), ['for all'])
  const again = await subscribe(`${wanted}&lastEventID=earliest`)
  t.notOk(dataOf(await again.got(1)).includes('secret'), 'the history does not return it either')
  const { body } = await node.get('/v1/poll?channel=notes/1&cursor=earliest')
  t.notMatch(body, /secret/, 'a public channel does not contain it')
  for (const channel of ['fanwire:updates', encodeURIComponent('fanwire:updates')])
    t.match(
      (await node.get(`/v1/poll?channel=${channel}&cursor=earliest`, bearer(ALL).headers)).body,
      /FW_BAD_CHANNEL/,
    )
})

t.test('a subscriber of all topics loses the grant of a channel token that expires', async t => {
  const clock = stopClock(t)
  const topic = 'secret/1'
  const channelToken = tokenOf(undefined, { channel: topic, exp: Math.floor(Date.now() / 1000) + 60 })
  const { got } = await subscribe(
    query([
      ['topic', '*'],
      ['channel_token', channelToken],
    ]),
  )
  await publish({ topic, data: 'granted', private: 'on' })
  await got(1)
  clock.forward(72_000)
  const { clients } = node.app.fanwire
  await until('the grant is gone', () => [...clients].every(({ identity }) => identity.grants.length === 0))
  await publish({ topic, data: 'not granted any more', private: 'on' })
  await publish({ topic, data: 'public' })
  t.strictSame(dataOf(await got(2)), ['granted', 'public'])
})

t.test('a subscriber resumes after its last update, by either form of id', async t => {
  const ids = [
    await publish({ topic: 'r', data: '1' }),
    await publish({ topic: 'r', data: '2', id: 'urn:ünique' }),
  ]
  await publish({ topic: 'r', data: '3', id: 'order-17' })
  await publish({ topic: 'r', data: '4', id: 'urn:ünique' })
  const from = async (id: string, name: string, header = false) => {
    const url = `${at()}?match=r${header ? '' : `&${name}=${encodeURIComponent(id)}`}`
    const stop = new AbortController()
    const headers: Record<string, string> = header ? { [name]: id } : {}
    const answer = await fetch(url, { headers, signal: stop.signal })
    let text = ''
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
    while (!/data: 4\nid: urn:ünique/.test(text)) text += (await reader?.read())?.value ?? ''
    stop.abort()
    const [, ...found] = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data)
    return {
      found,
      text,
      last: answer.headers.get('mercure-last-event-id'),
      older: answer.headers.get('last-event-id'),
    }
  }
  const [first = '', named = ''] = ids
  t.match(await from(first, 'last-event-id', true), { found: ['2', '3', '4'], last: first, older: first })
  t.match(await from(named, 'lastEventID'), {
    found: ['3', '4'],
    last: encodeURIComponent(named).replaceAll('%3A', ':'),
  })
  t.match(
    await from(named, 'last_event_id'),
    { found: ['3', '4'] },
    'resumes after the first update with that id',
  )
  const bytes = Buffer.from(named).toString('latin1')
  t.match(await from(bytes, 'last-event-id', true), { found: ['3', '4'] }, 'a header in UTF-8')
  t.match(
    await from('order-17', 'last_event_id'),
    { found: ['4'], last: 'order-17' },
    'a name like a position',
  )
  t.match(await from(first.slice(1), 'last_event_id'), { found: ['2', '3', '4'] }, 'a position without #')
  t.match(await from('earliest', 'last_event_id'), { found: ['1', '2', '3', '4'], last: 'earliest' })
  const unknown = await from('urn:unheard-of', 'last_event_id')
  t.match(unknown, { found: [/from/, '1', '2', '3', '4'], last: 'earliest' })
  t.match(unknown.text, /^event: gap\ndata: \{"from":"#/m, 'a gap is reported')
})

t.test('without the right to history, updates after a gap are received', async t => {
  const other = await startHub({}, { default: { subscribe: 'token', publish: 'token' } })
  t.teardown(() => {
    other.disconnect()
    return other.node.close()
  })
  const reader = bearer(tokenOf(undefined, { caps: [{ channels: ['*'], allow: ['sub'] }] }))
  const live = await other.subscribe('?topic=a', reader)
  await other.publish({ topic: 'a', data: '1' })
  await live.got(1)
  const later = await other.subscribe('?topic=%7Bany%7D&lastEventID=earliest', reader)
  await other.publish({ topic: 'a', data: '2' })
  t.strictSame(dataOf(await later.got(1)), ['2'], 'history is not received')
  await live.got(2)
  await other.node.log.clear('fanwire:updates')
  await other.publish({ topic: 'a', data: '3' })
  t.match(await live.got(4), [{ data: '1' }, { data: '2' }, { type: 'gap' }, { data: '3' }])
  t.match(await later.got(3), [{ data: '2' }, { type: 'gap' }, { data: '3' }])
})

t.test('an EventSource that is cut reconnects and misses nothing', async t => {
  const { got, received } = await subscribe(query([['topic', 'cut']]))
  await publish({ topic: 'cut', data: '1', id: 'urn:cut:1' })
  await got(1)
  cutAll(node)
  for (const n of [2, 3, 4]) await publish({ topic: 'cut', data: String(n) })
  await got(4)
  t.strictSame(dataOf(received), ['1', '2', '3', '4'])
})

t.test('a subscriber that is cut before its first update misses nothing', async t => {
  const { got, received } = await subscribe('?topic=early', { types: ['fanwire:open'] })
  t.match(await got(1), [{ id: /^#[a-z0-9]+-\d+$/, type: 'fanwire:open', data: '{}' }])
  cutAll(node)
  await publish({ topic: 'early', data: '1' })
  await got(3)
  t.match(received.slice(1), [{ type: 'fanwire:open', id: received[0]?.id }, { data: '1' }])
})

t.test('updates of other topics move the position of a subscriber', async t => {
  const other = await startHub({ HISTORY_EVENTS: '100' })
  t.teardown(() => {
    other.disconnect()
    return other.node.close()
  })
  const { got, received } = await other.subscribe('?topic=quiet', { types: ['fanwire:passed'] })
  await other.publish({ topic: 'quiet', data: '1' })
  await got(1)
  const busy = { data: updateData({ topics: ['busy'] }, Buffer.from('1')) }
  const [connection] = other.node.hub.connections
  for (let round = 0; round < 4; round++) {
    await other.node.append(UPDATES, ...Array.from({ length: 50 }, () => busy))
    connection?.catchUp()
  }
  connection?.beat()
  connection?.beat()
  await got(2)
  cutAll(other.node)
  await other.publish({ topic: 'quiet', data: '2' })
  await got(3)
  t.match(received, [{ data: '1' }, { type: 'fanwire:passed', id: /^#.*-201$/, data: '{}' }, { data: '2' }])
})

t.test('after 1,000 updates of other topics a subscriber receives its position', async t => {
  const { got } = await subscribe('?topic=quiet', { types: ['fanwire:passed'] })
  const busy = { data: updateData({ topics: ['busy'] }, Buffer.from('1')) }
  const ids = await node.append(UPDATES, ...Array.from({ length: 1000 }, () => busy))
  t.match(await got(1), [{ type: 'fanwire:passed', id: `#${ids.at(-1)}`, data: '{}' }])
})

t.test('subscriptions are listed, and published as updates', async t => {
  const older = await subscribe(query([['topic', `${HUB}/subscriptions/{topic}/{subscriber}`]]), bearer(ALL))
  const modern = await subscribe(query([['match_urlpattern', `${HUB}/subscriptions/*`]]), {
    ...bearer(accessToken([{ actions: ['subscribe'], topics: [{ match: '*' }] }])),
    types: ['mercure'],
  })
  const payload = { name: 'ann' }
  const ann = await subscribe(query([['topic', 'door/1']]), bearer(tokenOf({ subscribe: [], payload })))
  const detail = { actions: ['subscribe'], topics: [{ match: 'door/2' }], payload }
  const bob = await subscribe(query([['match', 'door/2']]), bearer(accessToken([detail])))
  const find = (from: typeof older, text: string) =>
    until('it is delivered', () => from.received.some(({ data }) => data.includes(text))).then(() =>
      JSON.parse(from.received.find(({ data }) => data.includes(text))?.data ?? ''),
    )
  const first = await find(older, '"door/1"')
  t.match(first, { type: 'Subscription', topic: 'door/1', active: true, payload, subscriber: /^urn:uuid:/ })
  const second = await find(modern, '"door/2"')
  t.match(second, { type: 'subscription', match_type: 'exact', match: 'door/2', active: true, payload })
  t.equal(modern.received.find(({ data }) => data.includes('"door/2"'))?.type, 'mercure')

  const list = async (path: string, headers = bearer(ALL).headers as Record<string, string>) => {
    const answer = await fetch(`http://127.0.0.1:${node.port}${path}`, { headers })
    return { answer, body: (answer.status === 200 ? await answer.json() : await answer.text()) as Listed }
  }
  const all = await list(`${HUB}/subscriptions`)
  t.match(all.body, { '@context': 'https://mercure.rocks/', type: 'Subscriptions', lastEventID: /^#/ })
  t.match(all.answer.headers.get('link'), /rel="mercure"; last-event-id="#/)
  t.match(
    all.body.subscriptions.find(({ topic }) => topic === 'door/1'),
    first,
  )
  const etag = (await list(first.id)).answer.headers.get('etag') ?? ''
  const again = await list(first.id, { ...bearer(ALL).headers, 'if-none-match': etag })
  t.equal(again.answer.status, 304)
  t.match((await list(`${HUB}/subscriptions/door%2F1`)).body.subscriptions, [first])
  t.strictSame((await list(first.id)).body, first)
  t.strictSame((await list(second.id)).body, second)
  const newer = {
    authorization: `Bearer ${accessToken([{ actions: ['subscribe'], topics: [{ match: '*' }] }])}`,
  }
  t.match((await list(`${HUB}/subscriptions/exact/door%2F2`, newer)).body, {
    id: `${HUB}/subscriptions/exact/door%2F2`,
    type: 'subscriptions',
    subscriptions: [second],
  })
  t.match((await list(`${HUB}/subscriptions/nobody/here`)).body, /FW_NOT_FOUND/)
  t.match((await list(`${HUB}/subscriptions`, {})).body, /FW_UNAUTHORIZED/)
  t.match(
    (await list(`${HUB}/subscriptions`, bearer(tokenOf({ subscribe: ['a'] })).headers)).body,
    /FW_FORBIDDEN/,
  )
  ann.source.close()
  bob.source.close()
  const isGone = ({ received }: typeof older, id: string) =>
    received.some(({ data }) => data.includes(id) && data.includes('"active":false'))
  await until('both are gone', () => isGone(older, first.id) && isGone(modern, second.id))
  t.strictSame((await list(`${HUB}/subscriptions/door%2F1`)).body.subscriptions, [])
})

t.test(
  'a rules change disconnects subscribers that lost their right, and rejects their reconnects',
  async t => {
    const other = await startHub()
    t.teardown(() => {
      other.disconnect()
      return other.node.close()
    })
    const { source } = await other.subscribe('?topic=a')
    const over = new Promise<number | undefined>(resolve =>
      source.addEventListener('error', ({ code }) => code !== undefined && resolve(code)),
    )
    other.writeRules({ default: { subscribe: 'token', publish: 'token' } })
    t.equal(await over, 401)
  },
)
