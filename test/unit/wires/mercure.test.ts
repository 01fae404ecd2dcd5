// Mercure beyond its own suite (`npm run conformance -- mercure`): EventSource, publishing as Symfony does it, both versions
// of its tokens, and the other wires beside it.

import t from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import { ALL, HUB, startHub } from '../../support/mercure.ts'

const hub = await startHub({ MERCURE_SUBSCRIPTIONS: '1', TOKEN_QUERY: '1', HISTORY_EVENTS: '50' })
const { node, post, publish, subscribe } = hub
const without = await startMemoryNode()
t.teardown(async () => {
  hub.disconnect()
  await Promise.all([node.close(), without.close()])
})

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
const books = 'https://example.com/books/'
const dataOf = (heard: readonly { data: string }[]) => heard.map(({ data }) => data)
const query = (pairs: [string, string][]) => `?${new URLSearchParams(pairs)}`

t.test('without the setting there is nothing at its path', async t => {
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

t.test('patterns: URI templates, URL patterns, and *', async t => {
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

t.test('what others publish to a channel reaches who follows the topic, and the other way round', async t => {
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
  const { got, heard } = await subscribe(query([['match', 'once']]))
  const send = () => post({ topic: 'once', data: '1' }, ALL, { 'idempotency-key': 'k1' })
  t.equal(await (await send()).text(), await (await send()).text())
  await publish({ topic: 'once', data: '2' })
  await got(2)
  t.strictSame(dataOf(heard), ['1', '2'])
})
