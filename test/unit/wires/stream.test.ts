// HTTP streaming, beyond the contract of every wire: its lines, where it ends, and the pace of a replay.

import t from 'tap'
import { bodyOf, rawBodyOf, readChunks } from '../../contract/chunks.ts'
import { openStream } from '../../contract/clients.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { at, fresh } from '../../contract/wires.ts'
import { Raw } from '../http/app.ts'
import { until } from '../../support/until.ts'
import { Pacing } from '../../../services/broker/fanout/plan.ts'

// Lines -------------------------------------------------------------------------------------------------------

const node = await startMemoryNode({ HEARTBEAT: '200ms' })
t.teardown(() => node.close())
const raws: Raw[] = []
t.afterEach(() => {
  for (const raw of raws.splice(0)) raw.close()
})

function open(query: string, of = node, version = '1.1'): Raw {
  const raw = new Raw(of.port).send(`GET /v1/stream?${query} HTTP/${version}\r\nHost: x\r\n\r\n`)
  raws.push(raw)
  return raw
}

/** Non-empty lines. */
const linesOf = (text: string) =>
  bodyOf(text)
    .split('\n')
    .filter(line => line !== '')

t.test("the first line has the reader's cursor", async t => {
  const channels = [fresh(), fresh()]
  const [id] = await node.append(channels[0] ?? '', '1')
  const text = await open(`channel=${channels[0]}&channel=${channels[1]}`).until(/\}\}\n\r\n/)
  t.match(bodyOf(text), new RegExp(`^\\n*\\{"open":\\{"cursor":"${id},[a-z0-9]{1,16}-0"\\}\\}\\n`))
})

t.test('each following line is one object, equal to other wires', async t => {
  const channel = fresh()
  const raw = open(`channel=${channel}`)
  await raw.until(/"open"/)
  const ids = [
    await node.publish(channel, '{\n"a":\r\n1}'),
    await node.publish(channel, 'two\nlines', 'text/plain'),
    await node.publish(channel, '\u2028', 'text/plain'),
  ]
  await raw.until(/"two[^]*data[^\n]*\n\r\n/)
  const expected: string[] = []
  for (const id of ids) expected.push((await node.get(`/v1/channels/${channel}/events/${id}`)).body)
  await until('three lines', () => linesOf(raw.text).length === 4)
  t.same(
    linesOf(raw.text)
      .slice(1)
      .map(line => Buffer.from(line, 'latin1').toString('utf8')),
    expected,
  )
  t.notMatch(bodyOf(raw.text), /\r/)
})

t.test('a gap is a line before the next event of its channel', async t => {
  const channel = fresh()
  const ids = await node.append(channel, '1', '2')
  const lines = linesOf(await open(`channel=${channel}&cursor=zzz-3`).until(/"data":2\}\n\r\n/))
  t.equal(lines[0], '{"open":{"cursor":"zzz-3"}}')
  t.equal(lines[1], `{"gap":{"channel":"${channel}","from":"zzz-3","to":"${at(ids[0], 0)}"}}`)
  t.same(
    lines.slice(2).map(line => JSON.parse(line).id),
    ids,
  )
})

t.test('heartbeats are blank lines, between lines and never within one', async t => {
  const channel = fresh()
  const raw = open(`channel=${channel}`)
  await raw.until(/(1\r\n\n\r\n){2}$/)
  await node.append(channel, `"${'x'.repeat(100_000)}"`)
  await raw.until(/"\}\n\r\n(1\r\n\n\r\n){2,}$/)
  for (const line of linesOf(raw.text)) t.doesNotThrow(() => JSON.parse(line))
  t.equal(linesOf(raw.text).length, 2)
})

t.test('the last line has the reason for the end, and the retry delay', async t => {
  const own = await startMemoryNode()
  t.teardown(() => own.close())
  const channel = fresh()
  const readers = Array.from({ length: 10 }, () => open(`channel=${channel}`, own))
  await Promise.all(readers.map(raw => raw.until(/"open"/)))
  await own.append(channel, '"last event"')
  await Promise.all(readers.map(raw => raw.until(/"last event"/)))
  await Promise.all([own.hub.connections.drain(100), ...readers.map(raw => raw.ended)])
  const retries = new Set<number>()
  for (const raw of readers) {
    const lines = linesOf(raw.text)
    t.equal(lines.length, 3)
    t.match(lines[1], '"last event"')
    const { close } = JSON.parse(lines[2] ?? '')
    t.match(close, { code: 1001, reason: String, retry: Number })
    t.same(Object.keys(close), ['code', 'reason', 'retry'])
    t.equal(readChunks(rawBodyOf(raw.text)).ended, false, 'the body has no final chunk')
    retries.add(close.retry)
  }
  t.ok(retries.size > 1, 'retry delays differ')
  await until('nothing is left', () => own.hub.stats().readers === 0 && own.app.sockets.size === 0)
})

t.test('the head is right, and over HTTP/1.0 the body is not chunked', async t => {
  const origin = 'http://localhost:1234'
  const { answer, asked } = await openStream(node, `/v1/stream?channel=${fresh()}`, { origin })
  const { headers } = answer
  t.equal(headers['content-type'], 'application/x-ndjson')
  t.equal(headers['cache-control'], 'no-store, no-transform')
  t.equal(headers['x-accel-buffering'], 'no')
  t.equal(headers['access-control-allow-origin'], origin)
  t.equal(headers['transfer-encoding'], 'chunked')
  t.equal(headers.connection, undefined)
  asked.destroy()
  const text = await open(`channel=${fresh()}`, node, '1.0').until(/\}\}\n/)
  t.match(rawBodyOf(text), /^\{"open":/)
  t.notMatch(text, /^(transfer-encoding|content-length):/im)
})

t.test('requests that cannot be streamed are answered with a status', async t => {
  for (const [query, status, code] of [
    ['', 400, 'FW_BAD_CHANNEL'],
    [`channel=${fresh()}&cursor=x`, 400, 'FW_BAD_CURSOR'],
    [`channel=${fresh()}&limit=1`, 400, 'FW_BAD_PARAMETER'],
  ] as const) {
    const answer = await node.get(`/v1/stream?${query}`)
    t.equal(answer.status, status)
    t.equal(JSON.parse(answer.body).error.code, code)
  }
})

// Ends and paces ----------------------------------------------------------------------------------------------

t.test('a stretch is replayed, and ends with a notice', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const ids = await node.append('a', '1', '2', '3')
  const closing = '{"close":{"code":1000,"reason":"until"}}'
  for (const query of ['until=head', `until=${ids[2]}`, 'until=head&speed=1000', `until=${Date.now() + 1}`]) {
    const { body } = await node.get(`/v1/stream?channel=a&cursor=earliest&${query}`)
    const lines = body.split('\n').filter(Boolean)
    t.same([lines.length, lines.at(-1)], [5, closing], query)
  }
  const { body } = await node.get(`/v1/stream?channel=a&cursor=earliest&until=${ids[0]}`)
  t.equal(body.split('\n').filter(Boolean).length, 3)
  const sse = await node.get('/v1/sse?channel=a&cursor=earliest&until=head')
  t.ok(sse.body.endsWith('event: end\ndata: {"close":{"code":1000,"reason":"until"}}\n\n'))
  for (const [query, code] of [
    ['until=tomorrow', 'FW_BAD_CURSOR'],
    ['speed=0', 'FW_BAD_PARAMETER'],
    ['speed=1001', 'FW_BAD_PARAMETER'],
    ['speed=2&every=1s', 'FW_BAD_PARAMETER'],
  ] as const) {
    t.match(JSON.parse((await node.get(`/v1/stream?channel=a&${query}`)).body), { error: { code } }, query)
  }
})

t.test('the pace follows the events’ own times', async t => {
  const pacing = new Pacing(10)
  t.equal(pacing.due({ time: 5000 }, 100), 100)
  t.equal(pacing.due({ time: 6000 }, 120), 200)
})
