// Short polling, beyond the contract of every wire: fair shares, entity tags, cache headers.

import { request } from 'node:http'
import { pino } from 'pino'
import t from 'tap'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { split } from '../contract/clients.ts'
import { configOf, type Node, offsetOf, startMemoryNode, startNode } from '../contract/node.ts'
import { at, fresh, idOf, idsOf } from '../contract/wires.ts'
import { startRedis } from '../support/redis-server.ts'

interface Page {
  readonly status: number
  readonly tag: string | undefined
  readonly body: string
  readonly events: readonly string[]
  readonly cursor: string
  readonly more: boolean
  readonly gaps: readonly object[]
}

const node = await startMemoryNode()
const small = await startMemoryNode({ HISTORY_EVENTS: '4' })
t.teardown(() => Promise.all([node.close(), small.close()]))

async function poll(query: string, headers: Record<string, string> = {}, of: Node = node): Promise<Page> {
  const { status, headers: received, body } = await of.get(`/v1/poll?${query}`, headers)
  const tag = received.etag as string | undefined
  if (status === 304) return { status, tag, body, events: [], cursor: '', more: false, gaps: [] }
  if (status !== 200) throw new Error(`${status} ${body}`)
  const { cursor, more = false, gaps = [] } = JSON.parse(body)
  return { status, tag, body, events: split(body), cursor, more, gaps }
}

const named = (channels: readonly string[]) => channels.map(each => `channel=${each}`).join('&')
const ones = (count: number) => new Array<string>(count).fill('1')

t.test('the limit counts over all channels and is shared fairly', async t => {
  const channels = [fresh(), fresh(), fresh(), fresh()] as const
  const ids = await Promise.all([500, 3, 500, 0].map((count, i) => fill(channels[i] ?? '', count)))
  const page = await poll(`${named(channels)}&limit=100`)
  t.equal(page.events.length, 100)
  t.ok(page.more)
  const counts = channels.map(each => idsOf(page.events, each).length)
  t.equal(counts[1], 3)
  t.ok(
    (counts[0] ?? 0) >= 25 && (counts[2] ?? 0) >= 25,
    `each channel has at least an equal share: ${counts}`,
  )
  for (const [i, channel] of channels.entries()) {
    t.strictSame(idsOf(page.events, channel), ids[i]?.slice(0, counts[i]), 'the earliest events, in order')
    t.equal(offsetOf(page.cursor.split(',')[i] ?? ''), counts[i], 'the cursor is after its last event')
  }
})

t.test('across channels events are sorted by time', async t => {
  const channels = [fresh(), fresh(), fresh()]
  for (let i = 0; i < 30; i++) await node.append(channels[(i * 7) % 3] ?? '', '1')
  const { events } = await poll(`${named(channels)}`)
  const times = events.map(event => JSON.parse(event).time)
  t.equal(times.length, 30)
  t.strictSame(
    times,
    times.toSorted((a, b) => a - b),
  )
})

t.test('with a limit below one event per channel, consecutive polls reach every channel', async t => {
  for (const [count, limit, each] of [
    [2, 1, 5],
    [7, 1, 3],
    [6, 4, 10],
    [10, 3, 4],
    [5, 4, 9],
  ] as const) {
    const channels = Array.from({ length: count }, fresh)
    const ids = await Promise.all(channels.map(channel => fill(channel, each)))
    const seen = new Map<string, string[]>(channels.map(channel => [channel, []]))
    let cursor = 'earliest'
    let polls = 0
    let more = true
    let reached = 0
    while (more) {
      const page = await poll(`${named(channels)}&limit=${limit}&cursor=${cursor}`)
      polls++
      t.ok(page.events.length <= limit)
      for (const event of page.events) seen.get(JSON.parse(event).channel)?.push(idOf(event))
      if (reached === 0 && [...seen.values()].every(got => got.length > 0)) reached = polls
      cursor = page.cursor
      more = page.more
    }
    t.strictSame([...seen.values()], ids, `${count} channels, limit ${limit}: every event of every channel`)
    const round = Math.ceil(count / limit)
    t.ok(reached <= round + 1, `every channel after ${reached} polls, where a round is ${round}`)
    t.equal(
      polls,
      Math.ceil((count * each) / limit),
      'every poll returned as many events as the limit allows',
    )
  }
})

t.test('busy channels do not starve a quiet one', async t => {
  const channels = Array.from({ length: 6 }, fresh)
  let cursor = (await poll(`${named(channels)}&cursor=latest`)).cursor
  const quiet = channels[4] ?? ''
  const [id] = await node.append(quiet, '"quiet"')
  let polls = 0
  for (let seen = false; !seen && polls < 10; polls++) {
    for (const channel of channels) if (channel !== quiet) await node.append(channel, '1', '1', '1')
    const page = await poll(`${named(channels)}&limit=2&cursor=${cursor}`)
    cursor = page.cursor
    seen = page.events.some(event => idOf(event) === id && event.includes(quiet))
  }
  t.ok(polls <= 4, `after ${polls} polls`)
})

t.test('`more` reports whether an immediate poll would return anything', async t => {
  const channel = fresh()
  const [first] = await fill(channel, 10)
  const full = await poll(`channel=${channel}&limit=10`)
  t.equal(full.more, false, 'the page has all events')
  t.notMatch(full.body, '"more"')
  const part = await poll(`channel=${channel}&limit=9`)
  t.match(part.body, /,"more":true\}$/)
  t.equal((await poll(`channel=${channel}&limit=9&cursor=${part.cursor}`)).events.length, 1)
  t.equal((await poll(`channel=${channel}&limit=1&cursor=${first}`)).more, true)
  t.equal((await poll(`channel=${channel}&cursor=latest`)).more, false)
})

t.test('a response has a bounded size, whatever the limit allows', async t => {
  const channels = [fresh(), fresh(), fresh()]
  const data = `"${'x'.repeat(900_000)}"`
  for (const channel of channels) for (let i = 0; i < 4; i++) await node.append(channel, data)
  const seen: string[] = []
  let cursor = 'earliest'
  for (let more = true; more;) {
    const page = await poll(`${named(channels)}&limit=1000&cursor=${cursor}`)
    t.ok(page.body.length < 6 * 1024 * 1024, `${page.body.length} bytes`)
    t.ok(page.events.length > 0)
    seen.push(...page.events.map(event => JSON.parse(event).channel))
    more = page.more
    cursor = page.cursor
  }
  t.same(
    channels.map(channel => seen.filter(each => each === channel).length),
    [4, 4, 4],
  )
})

t.test('the ETag changes with the body, and only with it', async t => {
  const channel = fresh()
  const empty = await poll(`channel=${channel}`)
  t.equal(empty.tag, `"${empty.cursor}"`, 'without events it is the cursor')
  const tags = new Map([[empty.tag, empty.body]])
  const look = async (query: string) => {
    const page = await poll(query)
    t.match(page.tag, /^"[\x21\x23-\x7e]+"$/, 'the tag is strong')
    const known = tags.get(page.tag)
    if (known !== undefined) t.equal(page.body, known, 'the same tag, the same body')
    for (const [tag, body] of tags)
      if (body === page.body) t.equal(page.tag, tag, 'the same body, the same tag')
    tags.set(page.tag, page.body)
    return page
  }
  const [first = ''] = await fill(channel, 6)
  await look(`channel=${channel}`)
  await look(`channel=${channel}&cursor=earliest`)
  await look(`channel=${channel}&cursor=${at(first, 0)}`)
  for (let limit = 1; limit <= 7; limit++) await look(`channel=${channel}&limit=${limit}`)
  for (let offset = 0; offset <= 6; offset++) {
    await look(`channel=${channel}&cursor=${at(first, offset)}`)
    await look(`channel=${channel}&cursor=${at(first, offset)}&limit=2`)
  }
  const before = await look(`channel=${channel}&limit=6`)
  await fill(channel, 1)
  const after = await look(`channel=${channel}&limit=6`)
  t.not(after.tag, before.tag, '`more` alone is another body')
  t.ok(tags.size > 10)
})

t.test('If-None-Match: a body that the client has is not sent again', async t => {
  const channel = fresh()
  const [first = ''] = await fill(channel, 3)
  const query = `channel=${channel}&cursor=${at(first, 0)}`
  const { tag = '' } = await poll(query)
  for (const header of [
    tag,
    `W/${tag}`,
    '*',
    ` * `,
    `"other", ${tag}`,
    `${tag},"other"`,
    `W/"a,b" ,W/${tag}`,
  ]) {
    const answer = await node.get(`/v1/poll?${query}`, { 'if-none-match': header })
    t.equal(answer.status, 304, header)
    t.equal(answer.body, '')
    t.equal(answer.headers.etag, tag)
    t.equal(answer.headers['cache-control'], 'no-cache')
    t.equal(answer.headers.vary, (await node.get(`/v1/poll?${query}`)).headers.vary)
  }
  for (const header of [tag.slice(1, -1), `"${tag}"`, '"other"', `w/${tag}`, 'W/', '', `"x${tag.slice(1)}`]) {
    t.equal((await poll(query, { 'if-none-match': header })).events.length, 3, header)
  }
})

t.test('a 304 never moves the cursor: events in between are not skipped', async t => {
  const channel = fresh()
  let { cursor, tag = '' } = await poll(`channel=${channel}`)
  const seen: string[] = []
  const ids: string[] = []
  let unchanged = 0
  for (let i = 0; i < 40; i++) {
    if (i % 3 === 0) ids.push(...(await fill(channel, 1 + (i % 4))))
    const page = await poll(`channel=${channel}&cursor=${cursor}&limit=2`, { 'if-none-match': tag })
    if (page.status === 304) {
      unchanged++
      continue
    }
    seen.push(...idsOf(page.events))
    cursor = page.cursor
    // The next request has another URL. A client that sends an old tag with it must lose nothing.
    tag = page.tag ?? ''
  }
  t.ok(unchanged > 0)
  t.strictSame(seen, ids.slice(0, seen.length))
  t.ok(seen.length > 20)
})

t.test('a response with gaps has no ETag, and `*` does not hide it', async t => {
  const channel = fresh()
  const [first = ''] = await fill(channel, 10, small)
  for (const cursor of ['zzz-1', first, at(first, 99)]) {
    for (const header of ['*', `"${cursor}"`]) {
      const page = await poll(`channel=${channel}&cursor=${cursor}`, { 'if-none-match': header }, small)
      t.equal(page.status, 200)
      t.equal(page.tag, undefined)
      t.equal(page.gaps.length, 1)
    }
  }
})

t.test('HEAD equals GET without the body', async t => {
  const channel = fresh()
  await fill(channel, 3)
  const path = `/v1/poll?channel=${channel}`
  const { headers } = await node.get(path)
  const head = (more: Record<string, string>) =>
    new Promise<{ status: number; headers: NodeJS.Dict<string | string[]> }>((resolve, reject) => {
      request({ port: node.port, host: '127.0.0.1', method: 'HEAD', path, headers: more, agent: false })
        .once('error', reject)
        .once('response', answer => {
          answer.on('data', () => reject(new Error('a body')))
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers }))
        })
        .end()
    })
  const answer = await head({})
  t.equal(answer.status, 200)
  for (const name of ['etag', 'content-type', 'cache-control', 'content-length', 'vary']) {
    t.equal(answer.headers[name], headers[name], name)
  }
  t.equal((await head({ 'if-none-match': headers.etag as string })).status, 304)
})

t.test('caches must revalidate, and shared caches must not store authorised responses', async t => {
  const path = `/v1/poll?channel=${fresh()}`
  const plain = await node.get(path)
  t.equal(plain.headers['cache-control'], 'no-cache')
  const authorization = 'Bearer some-key'
  t.equal((await node.get(path, { authorization })).headers['cache-control'], 'private, no-cache')
  const unchanged = await node.get(path, { authorization, 'if-none-match': '*' })
  t.equal(unchanged.status, 304)
  t.equal(unchanged.headers['cache-control'], 'private, no-cache', 'a 304 has the same header')
  t.equal(
    (await node.get('/v1/poll?channel=')).headers['cache-control'],
    'no-store',
    'an error is not cached',
  )
})

t.test('a poll sees a publish that its node acknowledged over HTTP just before, on Redis', async t => {
  const redis = await startRedis()
  const nodes = await Promise.all(
    [1, 2].map(() =>
      startNode(configOf({}), ({ history, idempotencyWindow, logTimeout }) => {
        const logger = pino({ level: 'silent' })
        const { url } = redis
        return new RedisLog({
          url,
          prefix: 'poll',
          retentionOf: () => history,
          idempotencyWindow,
          timeout: logTimeout,
          logger,
        })
      }),
    ),
  )
  t.teardown(async () => {
    await Promise.all(nodes.map(each => each.close()))
    await redis.stop()
  })
  const [own, other] = nodes as [Node, Node]
  const channel = fresh()
  const elsewhere = fresh()
  let missed = 0
  // Each poller follows its cursor, while a publisher on another node writes to the same channel.
  const hammer = async (turns: number, query: string) => {
    let { cursor } = await poll(`${query}&cursor=latest`, {}, own)
    for (let i = 0; i < turns; i++) {
      const id = await own.publish(channel, `${i}`)
      let seen = false
      for (let more = true; more && !seen;) {
        const page = await poll(`${query}&cursor=${cursor}&limit=1000`, {}, own)
        cursor = page.cursor
        more = page.more
        const position = cursor.split(',')[0] ?? ''
        seen = offsetOf(position) >= offsetOf(id)
      }
      if (!seen) missed++
    }
  }
  let writing = true
  const noise = (async () => {
    while (writing) await other.publish(channel, '"noise"')
  })()
  await Promise.all([
    hammer(100, `channel=${channel}`),
    hammer(100, `channel=${channel}&channel=${elsewhere}`),
    hammer(100, `channel=${channel}`),
  ])
  writing = false
  await noise
  t.equal(missed, 0)
})

async function fill(channel: string, count: number, of: Node = node): Promise<string[]> {
  return count === 0 ? [] : of.append(channel, ...ones(count))
}
