// What only the request wires have: pages, entity tags, being held.

import t, { type Test } from 'tap'
import { type Node, type Reply, type Settings, offsetOf, startMemoryNode, until } from '../contract/node.ts'
import { fresh, idsOf } from '../contract/wires.ts'
import { split } from '../contract/clients.ts'
import { Raw } from './raw.ts'

interface Page {
  readonly events: { readonly id: string; readonly channel: string }[]
  readonly cursor: string
  readonly more?: true
  readonly gaps?: { readonly channel: string; readonly from: string; readonly to: string }[]
}

async function nodeWith(t: Test, settings: Settings = {}): Promise<Node> {
  const node = await startMemoryNode(settings)
  t.teardown(() => node.close())
  return node
}

async function ask(
  node: Node,
  query: string,
  headers?: Record<string, string>,
): Promise<Reply & { page: Page }> {
  const reply = await node.get(`/v1/poll?${query}`, headers)
  return { ...reply, page: reply.body === '' ? { events: [], cursor: '' } : JSON.parse(reply.body) }
}

t.test('a page has the events to the letter, the cursor, and says whether there is more', async t => {
  const node = await nodeWith(t)
  const ids = await node.append('a', '1.0', '{"]}":"\\""}', '[]')
  const part = await ask(node, 'channel=a&limit=2')
  t.equal(part.status, 200)
  t.equal(part.headers['content-type'], 'application/json; charset=utf-8')
  t.equal(part.headers['cache-control'], 'no-cache')
  const events = await Promise.all(ids.map(id => node.get(`/v1/channels/a/events/${id}`)))
  const [one, two, three] = events.map(event => event.body)
  t.equal(part.body, `{"events":[${one},${two}],"cursor":"${ids[1]}","more":true}`)
  const rest = await ask(node, `channel=a&limit=2&cursor=${part.page.cursor}`)
  t.equal(rest.body, `{"events":[${three}],"cursor":"${ids[2]}"}`)
  const none = await ask(node, `channel=a&cursor=${rest.page.cursor}`)
  t.equal(none.body, `{"events":[],"cursor":"${ids[2]}"}`)
})

t.test('gives at most limit events, over all channels, fairly', async t => {
  const node = await nodeWith(t)
  const channels = ['a', 'b', 'c']
  for (const [i, channel] of channels.entries())
    await node.append(channel, ...new Array<string>([50, 3, 50][i] ?? 0).fill('1'))
  const all = channels.map(channel => `channel=${channel}`).join('&')
  const { page } = await ask(node, `${all}&limit=30`)
  const count = (channel: string) => page.events.filter(event => event.channel === channel).length
  t.equal(page.events.length, 30)
  t.strictSame(
    channels.map(count).sort((x, y) => x - y),
    [3, 10, 17],
  )
  t.equal(page.more, true)
  t.equal((await ask(node, `${all}&limit=1000`)).page.events.length, 103)
  t.equal((await ask(node, all)).page.events.length, 100, 'by default 100')
})

t.test('where the limit is smaller than the number of channels each has its turn', async t => {
  const node = await nodeWith(t)
  const channels = ['a', 'b', 'c', 'd', 'e']
  for (const channel of channels) await node.append(channel, '1', '2', '3', '4')
  const all = channels.map(channel => `channel=${channel}`).join('&')
  let cursor = 'earliest'
  const seen: string[] = []
  for (let i = 0; i < 5; i++) {
    const { page } = await ask(node, `${all}&limit=2&cursor=${cursor}`)
    t.equal(page.events.length, 2)
    t.equal(page.more, true)
    seen.push(...page.events.map(event => event.channel))
    ;({ cursor } = page)
  }
  for (const channel of channels) t.equal(seen.filter(each => each === channel).length, 2, channel)
})

t.test('the entity tag changes with the body', async t => {
  const node = await nodeWith(t)
  const ids = await node.append('a', '1', '2', '3')
  const [b] = await node.append('b', '1')
  const tags = new Map<string, string>()
  for (const query of [
    'channel=a',
    'channel=a&limit=1',
    'channel=a&limit=2',
    `channel=a&cursor=${ids[0]}`,
    `channel=a&cursor=${ids[0]}&limit=1`,
    `channel=a&cursor=${ids[1]}`,
    'channel=a&cursor=latest',
    'channel=a&channel=b',
    'channel=b&channel=a',
    `channel=a&channel=b&cursor=${ids[0]},${b}`,
    `channel=a&channel=b&cursor=${ids[2]},${b}`,
  ]) {
    const { headers, body } = await ask(node, query)
    const tag = String(headers.etag)
    t.match(tag, /^"[\x21\x23-\x7e]+"$/, 'strong')
    t.equal(tags.get(tag) ?? body, body, `${query}: the same tag means the same body`)
    tags.set(tag, body)
    t.equal((await ask(node, query)).headers.etag, tag)
  }
  t.equal(tags.size, 11)
  t.equal(
    (await ask(node, 'channel=a&cursor=latest')).headers.etag,
    `"${ids[2]}"`,
    'without events: the cursor',
  )
  await node.append('a', '4')
  t.notOk(tags.has(String((await ask(node, 'channel=a')).headers.etag)))
})

t.test('a client that has the page already is told so, and its cursor stays', async t => {
  const node = await nodeWith(t)
  await node.append('a', '1', '2')
  await node.append('b', '1')
  const query = 'channel=a&channel=b&cursor=latest'
  const { etag, ...headers } = (await ask(node, query)).headers
  const tag = String(etag)
  t.match(tag, /,/, 'a tag may have a comma in it')
  for (const value of [tag, `W/${tag}`, '*', `"x", ${tag}`, `"x,y",W/"z" , W/${tag}`, ` ${tag} `]) {
    const known = await ask(node, query, { 'if-none-match': value })
    t.equal(known.status, 304, value)
    t.equal(known.body, '')
    t.equal(known.headers.etag, tag)
    t.equal(known.headers['cache-control'], headers['cache-control'])
  }
  for (const value of ['"x"', tag.slice(1, -1), `"x${tag.slice(1)}`, '""', 'W/*', tag.split(',')[0] ?? '']) {
    t.equal((await ask(node, query, { 'if-none-match': value })).status, 200, value)
  }
  await node.append('b', '2')
  t.equal((await ask(node, query, { 'if-none-match': tag })).status, 200, 'the head has moved')
})

t.test('nobody misses a gap for having the page already', async t => {
  const node = await nodeWith(t)
  const ids = await node.append('a', '1', '2')
  for (const value of ['*', `"${ids[1]}"`]) {
    const { status, headers, page } = await ask(node, 'channel=a&cursor=zzz-1', { 'if-none-match': value })
    t.equal(status, 200)
    t.equal(headers.etag, undefined)
    t.strictSame(page.gaps, [{ channel: 'a', from: 'zzz-1', to: `${ids[0]?.split('-')[0]}-0` }])
    t.strictSame(
      page.events.map(event => event.id),
      ids,
    )
  }
})

t.test('an authorised answer is private', async t => {
  const node = await nodeWith(t)
  await node.append('a', '1')
  const headers = { authorization: 'Bearer x' }
  const { headers: told } = await ask(node, 'channel=a', headers)
  t.equal(told['cache-control'], 'private, no-cache')
  const known = await ask(node, 'channel=a', { ...headers, 'if-none-match': String(told.etag) })
  t.equal(known.status, 304)
  t.equal(known.headers['cache-control'], 'private, no-cache')
})

t.test('HEAD says what GET would', async t => {
  const node = await nodeWith(t)
  await node.append('a', '1')
  const { headers } = await ask(node, 'channel=a')
  const socket = new Raw(node.port).ask('HEAD /v1/poll?channel=a HTTP/1.1', 'Host: x', 'Connection: close')
  await until('it ends', () => socket.ended)
  t.ok(socket.text.includes(`etag: ${headers.etag}`))
  t.ok(socket.text.includes(`content-length: ${headers['content-length']}`))
  t.equal(socket.body, '')
})

// Long polling ----------------------------------------------------------------------------------------------

t.test('is answered at once where there is something, and never with 304', async t => {
  const node = await nodeWith(t)
  const ids = await node.append('a', '1', '2')
  const began = Date.now()
  const reply = await node.get('/v1/long-poll?channel=a&cursor=earliest&limit=1', { 'if-none-match': '*' })
  t.equal(reply.status, 200)
  t.strictSame(idsOf(split(reply.body)), ids.slice(0, 1))
  t.equal(JSON.parse(reply.body).more, true)
  t.equal(reply.headers['cache-control'], 'no-store')
  t.equal(reply.headers.etag, undefined)
  t.ok(Date.now() - began < 500)
})

t.test('is held until there is something', async t => {
  const node = await nodeWith(t)
  const [start] = await node.append('a', '0')
  const asked = node.get(`/v1/long-poll?channel=b&channel=a&cursor=earliest,${start}`)
  await until('it is held', () => node.hub.held.size === 1)
  t.equal(node.hub.stats().wires['long-poll']?.connections, 1)
  const [id = ''] = await node.append('a', '1')
  const page: Page = JSON.parse((await asked).body)
  t.strictSame(
    page.events.map(event => event.id),
    [id],
  )
  t.match(page.cursor, new RegExp(`^[a-z0-9]+-0,${id}$`))
})

t.test('ends after its time with the cursor, and loses nothing until the next', async t => {
  const node = await nodeWith(t)
  const began = Date.now()
  const { status, body } = await node.get('/v1/long-poll?channel=a&wait=1')
  const ms = Date.now() - began
  t.equal(status, 200)
  t.match(body, /^\{"events":\[\],"cursor":"[a-z0-9]+-0"\}$/)
  t.ok(ms >= 990 && ms < 2000, `${ms} ms`)
  const [id] = await node.append('a', '1')
  const next = await node.get(`/v1/long-poll?channel=a&cursor=${JSON.parse(body).cursor}`)
  t.strictSame(idsOf(split(next.body)), [id])
})

t.test('a client that goes away is let go of', async t => {
  const node = await nodeWith(t, { LINGER: '50ms' })
  const sockets = Array.from({ length: 5 }, () =>
    new Raw(node.port).ask(`GET /v1/long-poll?channel=${fresh()}&wait=55 HTTP/1.1`, 'Host: x'),
  )
  await until('all are held', () => node.hub.held.size === 5)
  for (const socket of sockets) socket.cut()
  await until('nothing is left', () => {
    const { channels, readers, wires } = node.hub.stats()
    return channels + readers + node.hub.held.size + (wires['long-poll']?.connections ?? 0) === 0
  })
})

t.test('a client that went away before its channel was open is not waited for', async t => {
  const node = await nodeWith(t, { LINGER: '50ms' })
  const follow = node.log.follow.bind(node.log)
  let open = () => {}
  const gate = new Promise<void>(resolve => {
    open = resolve
  })
  node.log.follow = async (channel, follower) => {
    await gate
    return follow(channel, follower)
  }
  const socket = new Raw(node.port).ask('GET /v1/long-poll?channel=a&wait=55 HTTP/1.1', 'Host: x')
  await until('it is there', () => node.app.sockets.size === 1 && node.hub.stats().channels === 1)
  socket.cut()
  await until('it is gone', () => node.app.sockets.size === 0)
  open()
  await until('nothing is left', () => node.hub.stats().channels + node.hub.held.size === 0)
})

t.test('many wait for one event, and each is told it', async t => {
  const node = await nodeWith(t)
  const [start = ''] = await node.append('a', '0')
  const asked = Array.from({ length: 100 }, () => node.get(`/v1/long-poll?channel=a&cursor=${start}`))
  await until('all are held', () => node.hub.held.size === 100)
  await node.append('a', '1')
  for (const each of asked) t.equal(offsetOf(JSON.parse((await each).body).cursor), offsetOf(start) + 1)
  t.equal(node.hub.stats().readers, 0)
})
