// The end of a channel, and transient events, on every wire.

import { once } from 'node:events'
import { io } from 'socket.io-client'
import t from 'tap'
import { WebSocket } from 'ws'
import { startMemoryNode } from '../../contract/node.ts'
import { reading } from '../../contract/wires.ts'
import { until } from '../../support/until.ts'

const node = await startMemoryNode({ HEARTBEAT: '25s', SOCKET_IO: '1' })
t.teardown(() => node.close())
const at = (path: string) => `http://127.0.0.1:${node.port}${path}`
const END = { data: Buffer.alloc(0), end: true } as const
const draft = (data: string, more = {}) => ({ data: Buffer.from(data), ...more })
const relay = (channel: string, data: string, type = 'typing') =>
  node.log.relay(channel, [draft(data, { type })])

/** The whole text of a stream that ends by itself. */
async function whole(path: string, begun = async () => {}): Promise<string> {
  const response = await fetch(at(path))
  await begun()
  return await response.text()
}

interface Answer {
  readonly events: readonly { readonly data: unknown }[]
  readonly end?: unknown
}

const answer = async (path: string) => (await (await fetch(at(path))).json()) as Answer

/** All messages of a WebSocket, and how it closed. */
async function messages(
  path: string,
  begun: (socket: WebSocket, got: readonly string[]) => Promise<void> = async () => {},
) {
  const socket = new WebSocket(at(path).replace('http', 'ws'))
  const got: string[] = []
  socket.on('message', data => got.push(`${data}`))
  const closed = once(socket, 'close')
  await once(socket, 'open')
  await begun(socket, got)
  const [code, reason] = await closed
  return { got: got.map(each => JSON.parse(each)), code, reason: `${reason}` }
}

t.test('streams of a single channel end after its end, and so do resumes after it', async t => {
  const [first = ''] = await node.append('a', '1')
  const finish = async () => {
    await reading(node, 'a')
    await node.append('a', '2', END)
  }
  const stream = await whole(`/v1/stream?channel=a&cursor=${first}`, finish)
  const lines = stream
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  const { id } = lines[2].end
  t.match(lines, [
    { open: { cursor: first } },
    { data: 2 },
    { end: { channel: 'a', id } },
    { close: { code: 1000 } },
  ])
  t.match(id, /-3$/)
  const sse = await whole(`/v1/sse?channel=a&cursor=${first}`)
  t.match(sse, `event: end\ndata: {"end":{"channel":"a","id":"${id}"}}\nid: ${id}\n\nretry: `)
  const again = await whole(`/v1/sse?channel=a&cursor=${id}`)
  t.match(again, `\n\nevent: end\ndata: {"end":{"channel":"a","id":"${id}"}}\nid: ${id}\n\nretry: `)
  const ws = await messages(`/v1/ws?channel=a&cursor=${first}`)
  t.match(ws, { got: [{ open: {} }, { data: 2 }, { end: { channel: 'a', id } }], code: 1000, reason: 'end' })
  t.match((await messages(`/v1/ws?channel=a&cursor=${id}`)).got, [
    { open: {} },
    { end: { channel: 'a', id } },
  ])
  const filtered = await whole(`/v1/stream?channel=a&cursor=${first}&types=none`)
  t.match(
    filtered
      .trim()
      .split('\n')
      .map(line => JSON.parse(line))
      .slice(1),
    [{ end: { id } }, { close: {} }],
  )
  const unknown = await whole('/v1/stream?channel=a&cursor=x-1')
  t.match(unknown, /"gap".*"data":1.*"data":2.*"end".*"close"/s)
})

t.test('a connection continues if it has other channels, or has sent a subscribe', async t => {
  await node.append('ended', END)
  const { got } = await messages('/v1/ws', async (socket, got) => {
    const has = async (count: number) => {
      while (got.length < count) await once(socket, 'message')
    }
    socket.send('{"subscribe":"ended","cursor":"earliest"}')
    await has(2)
    socket.send('{"subscribe":"goes-on","cursor":"earliest"}')
    await node.append('goes-on', '7')
    await has(4)
    socket.close(1000)
  })
  t.match(got.slice(1), [
    { ok: { channel: 'ended' } },
    { end: { channel: 'ended' } },
    { ok: {} },
    { data: 7 },
  ])
})

t.test('with until, a stream ends once each channel has reached its end or the position', async t => {
  const ids = [...(await node.append('u1', '1', '2')), ...(await node.append('u2', '3', END))]
  const [first = '', last = '', over = ''] = await node.append('u3', '1', '2', END)
  const read = async (query: string) => {
    const lines = (await whole(`/v1/stream?${query}`)).trim().split('\n')
    return lines.slice(1).map(line => JSON.parse(line))
  }
  const close = (reason: string) => ({ close: { code: 1000, reason } })

  const both = await read('channel=u1&channel=u2&cursor=earliest,earliest&until=head')
  t.same(both.flatMap(({ id, end }) => id ?? end?.id ?? []).sort(), ids.sort())
  t.match(both.at(-1), close('until'))
  t.match(await read(`channel=u3&cursor=earliest&until=${last}`), [
    { id: first },
    { id: last },
    close('until'),
  ])
  const later = over.replace(/\d+$/, '9')
  t.match(await read(`channel=u3&cursor=${last}&until=${later}`), [{ end: { id: over } }, close('end')])
  t.match(await read(`channel=u3&cursor=${over}&until=${later}`), [{ end: { id: over } }, close('end')])

  const { got } = await messages('/v1/ws', async (socket, got) => {
    socket.send(`{"subscribe":"u3","cursor":"earliest","until":"${last}"}`)
    while (got.length < 5) await once(socket, 'message')
    socket.close(1000)
  })
  t.match(got.slice(1), [{ ok: {} }, { id: first }, { id: last }, { unsubscribed: { channel: 'u3' } }])
})

t.test('poll and long-poll report the end beside the events, and refresh shows it', async t => {
  const [first = '', end = ''] = await node.append('b', '1', END)
  const json = (path: string) => answer(path)
  const ends = [{ channel: 'b', id: end }]
  t.match(await json('/v1/poll?channel=b'), { events: [{ id: first }], cursor: end, end: ends })
  t.same(await json(`/v1/poll?channel=b&cursor=${end}`), { events: [], cursor: end, end: ends })
  t.same((await json('/v1/poll?channel=b&types=other')).end, ends)
  t.same(await json(`/v1/long-poll?channel=b&cursor=${first}&wait=20`), {
    events: [],
    cursor: end,
    end: ends,
  })
  t.same(await json(`/v1/long-poll?channel=b&cursor=${end}&wait=20`), { events: [], cursor: end, end: ends })
  const both = json(`/v1/long-poll?channel=b&channel=b2&cursor=${end},latest&wait=20`)
  await reading(node, 'b2')
  await node.append('b2', '"news"')
  t.match(await both, { events: [{ channel: 'b2' }], end: ends }, 'a poll that knows the end waits')
  const page = await (await fetch(at('/v1/refresh?channel=b'))).text()
  t.match(page, `b has ended (${end})`)
})

t.test('transient events arrive in order among the others, without an id, and not in polls', async t => {
  const bodies = ['sse', 'stream'].map(wire => whole(`/v1/${wire}?channel=c&cursor=latest`))
  const ws = messages('/v1/ws?channel=c')
  const filtered = whole('/v1/stream?channel=c&types=post')
  const poll = answer('/v1/long-poll?channel=c&wait=20')
  const channel = await node.hub.open('c')
  while (channel.members.length < 5) await new Promise(resolve => setImmediate(resolve))
  await relay('c', '"t1"')
  const [first = ''] = await node.append('c', '1')
  await relay('c', '"t2"')
  await relay('c', '"t3"', 'post')
  await node.append('c', '2', END)
  channel.release()
  const [sse = '', stream = ''] = await Promise.all(bodies)
  const dataOf = (text: string) => [...text.matchAll(/"data":("?\w+"?)/g)].map(([, data]) => data)
  const order = ['"t1"', '1', '"t2"', '"t3"', '2']
  t.same([dataOf(sse), dataOf(stream)], [order, order])
  t.same(
    (await ws).got.flatMap(each => ('data' in each ? [JSON.stringify(each.data)] : [])),
    order,
  )
  t.match(sse, /event: typing\ndata: \{"channel":"c","time":\d+,"type":"typing","data":"t2"\}\n\nevent: post/)
  t.match(dataOf(await filtered), ['"t3"'])
  t.match((await poll).events, [{ id: first }])
  const late = await answer('/v1/poll?channel=c')
  t.same(
    late.events.map(each => each.data),
    [1, 2],
  )
})

t.test(
  'Socket.IO: transient events and the end have their own event names, and the connection continues',
  async t => {
    const socket = io(at('/'), { transports: ['websocket'] })
    t.teardown(() => socket.close())
    const got: unknown[] = []
    socket.onAny((name, body) => got.push([name, body]))
    await socket.emitWithAck('subscribe', { channel: 'io' })
    const [id] = await node.append('io', '1')
    await relay('io', '"t"')
    const [end] = await node.append('io', END)
    await until('all three came', () => got.length === 3)
    t.match(got, [
      ['message', { channel: 'io', id, data: 1 }],
      ['typing', { channel: 'io', id: undefined, data: 't' }],
      ['end', { end: { channel: 'io', id: end } }],
    ])
    t.equal(socket.connected, true)
  },
)
