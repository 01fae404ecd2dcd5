import t from 'tap'
import { LogUnavailable, type Receipt } from '../../../services/broker/log/log.ts'
import { lines, Post, startNode, type TestNode } from './node.ts'

const URL = '/v1/events'
const HEADERS = { 'content-type': 'application/x-ndjson' }

function send(node: TestNode, payload: string | Buffer) {
  return node.app.inject({ method: 'POST', url: URL, headers: HEADERS, payload })
}

const line = (channel: string, data: unknown) => `{"channel":"${channel}","data":${data}}\n`

t.test('one result line per line, in order; a bad line fails alone', async t => {
  const node = await startNode(t, { maxBody: 1000 })
  const answer = await send(
    node,
    Buffer.concat([
      Buffer.from(
        `${line('a', '1.0')}\r\n  \n{"channel":"b","data":{"__proto__": [1e1 ,2]}}\r\n{"channel":"a"\n`,
      ),
      Buffer.from('"\xff"\n', 'latin1'),
      Buffer.from(`${line('a', `"${'x'.repeat(100_000)}"`)}${line('a', `"${'x'.repeat(1001)}"`)}`),
      Buffer.from(
        `{"channels":["a","c"],"data":3,"idempotencyKey":"k"}\n{"channel":"a","data":4,"idempotencyKey":"k"}`,
      ),
    ]),
  )
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['content-type'], 'application/x-ndjson')
  t.ok(answer.body.endsWith('\n'))
  const [a1, a2] = await node.events('a')
  t.match(lines(answer.body), [
    { channel: 'a', id: a1?.id, time: a1?.time },
    { channel: 'b', id: String, time: Number },
    { index: 2, error: { code: 'FW_BAD_JSON', message: /^line 5: / } },
    { index: 3, error: { code: 'FW_BAD_ENCODING', message: /^line 6: / } },
    { index: 4, error: { code: 'FW_TOO_LARGE', message: /^line 7: / } },
    { index: 5, error: { code: 'FW_TOO_LARGE', message: /^line 8: / } },
    { results: [{ channel: 'a', id: a2?.id }, { channel: 'c' }] },
    { channel: 'a', id: a2?.id, replayed: true },
  ])
  t.equal(lines(answer.body).length, 8)
  t.same(await node.data('a'), ['1.0', '3'])
  t.same(await node.data('b'), ['{"__proto__": [1e1 ,2]}'])
})

t.test('an empty upload, and one with only bad lines, are 200', async t => {
  const node = await startNode(t)
  for (const [body, count] of [
    ['', 0],
    ['\n\n', 0],
    ['x\ny', 2],
  ] as const) {
    const answer = await send(node, body)
    t.equal(answer.statusCode, 200)
    t.equal(lines(answer.body).length, count)
  }
})

t.test('results arrive during the upload, each as soon as it is known', async t => {
  const node = await startNode(t)
  const post = new Post(await node.listen(), URL, HEADERS)
  await post.write(line('a', 1))
  const answer = await post.answer
  const results = answer.setEncoding('utf8').iterator()
  t.match(JSON.parse((await results.next()).value), { channel: 'a' })
  await post.write('oops\n')
  t.match(JSON.parse((await results.next()).value), { index: 1, error: { code: 'FW_BAD_JSON' } })
  post.request.end()
  t.equal((await results.next()).done, true)
})

const FAILING_FIRST = [
  ['a bad first line', 'oops\n', { index: 0 }],
  [
    'a first line whose condition failed',
    '{"channel":"a","data":1,"ifHead":"x-1"}\n',
    { index: 0, error: { code: 'FW_HEAD_MOVED' } },
  ],
] as const

for (const [what, first, result] of FAILING_FIRST) {
  t.test(`a client that waits for the result of ${what} gets it`, async t => {
    const node = await startNode(t)
    const post = new Post(await node.listen(), URL, HEADERS)
    await post.write(first)
    const answer = await post.answer
    t.equal(answer.statusCode, 200)
    const results = answer.setEncoding('utf8').iterator()
    t.match(JSON.parse((await results.next()).value), result)
    post.request.end(line('a', 1))
    t.match(JSON.parse((await results.next()).value), { channel: 'a' })
  })
}

t.test('503 when the log failed before any append, even for a client that is still sending', async t => {
  const node = await startNode(t)
  node.log.through = () => Promise.reject(new LogUnavailable('away'))
  const whole = await send(node, `oops\n${line('a', 1)}`)
  t.equal(whole.statusCode, 503)
  t.ok(whole.headers['retry-after'])
  t.equal(whole.json().error.code, 'FW_LOG_UNAVAILABLE')
  const post = new Post(await node.listen(), URL, HEADERS)
  await post.write(line('a', 1))
  t.equal((await post.answer).statusCode, 503)
  post.request.destroy()
})

t.test('if the log fails later, the result lines report it', async t => {
  const node = await startNode(t)
  node.log.through = (channel, _drafts, next) =>
    channel === 'bad' ? Promise.reject(new LogUnavailable('away')) : next()
  const post = new Post(await node.listen(), URL, HEADERS)
  await post.write(line('bad', 1))
  await post.write(line('a', 1))
  const answer = await post.answer
  t.equal(answer.statusCode, 200)
  post.request.end(line('bad', 2) + line('a', 2))
  t.match(lines(await post.text()), [
    { index: 0, error: { code: 'FW_LOG_UNAVAILABLE' } },
    { channel: 'a' },
    { index: 2, error: { code: 'FW_NOT_TRIED' } },
    { channel: 'a' },
  ])
})

t.test('losing the log in the middle ends the request', async t => {
  const node = await startNode(t)
  let left = 10
  node.log.through = (_channel, _drafts, next) =>
    left-- > 0 ? next() : Promise.reject(new LogUnavailable('away'))
  const body = Array.from({ length: 3000 }, (_, at) => line(`c${at}`, at)).join('')
  const answer = await send(node, body)
  t.equal(answer.statusCode, 200)
  const results = lines(answer.body)
  const last = results.length - 1
  t.ok(last < 1000, `${last} results`)
  t.match(results[last], {
    index: last,
    error: { code: 'FW_LOG_UNAVAILABLE', message: new RegExp(`the ${last} entries`) },
  })
})

t.test('50,000 lines, read only after all are sent, in order, in bounded memory', async t => {
  const node = await startNode(t, { history: { events: 100_000, age: 3_600_000, bytes: 2 ** 30 } })
  const post = new Post(await node.listen(), URL, HEADERS)
  const count = 50_000
  const began = performance.now()
  for (let at = 0; at < count; at += 500) {
    let piece = ''
    for (let i = at; i < at + 500; i++) piece += line(`c${i % 7}`, `{"n":${i},"text":"${'x'.repeat(100)}"}`)
    await post.write(piece)
  }
  post.request.end()
  const results = lines(await post.text())
  t.comment(`${Math.round((count / (performance.now() - began)) * 1000)} lines/s`)
  t.equal(results.length, count)
  t.equal(
    results.findIndex((result, at) => result.channel !== `c${at % 7}`),
    -1,
  )
  for (let c = 0; c < 7; c++) {
    const numbers = (await node.data(`c${c}`)).map(data => JSON.parse(data).n)
    t.equal(
      numbers.findIndex((n, at) => n !== at * 7 + c),
      -1,
    )
    t.equal(numbers.length, Math.ceil((count - c) / 7))
  }
})

t.test('a client that does not read its results receives the count of processed entries', async t => {
  const node = await startNode(t, { history: { events: 10, age: 3_600_000, bytes: 2 ** 20 } })
  const port = await node.listen()
  const post = new Post(port, URL, HEADERS)
  // Result lines are about as long as the request's lines: far more than the node and the kernel buffer.
  const channel = 'c'.repeat(200)
  const piece = line(channel, 1).repeat(1000)
  let pieces = 0
  let answered = false
  post.answer.then(answer => {
    answer.pause()
    answered = true
  })
  let open = true
  void post.closed.then(() => {
    open = false
  })
  const before = process.memoryUsage().rss
  for (; pieces < 250 && open; pieces++) await post.write(piece)
  t.ok(answered)
  t.ok(process.memoryUsage().rss - before < 200 * 2 ** 20)
  post.request.end()
  const results = lines(await post.text())
  const last = results.length - 1
  t.match(results[last], {
    index: last,
    error: { code: 'FW_RESULTS_UNREAD', message: new RegExp(`the ${last} entries before`) },
  })
  t.ok(last < pieces * 1000)
  // Exactly the events with a result were appended.
  const { head } = await node.log.state(channel)
  t.equal(head.offset, last)
})

t.test('a client that neither reads nor sends is cut', async t => {
  const node = await startNode(t, { stall: 100, history: { events: 10, age: 3_600_000, bytes: 2 ** 20 } })
  const port = await node.listen()
  const cut = new Promise<void>(resolve => {
    node.app.server.once('connection', socket => socket.once('close', () => resolve()))
  })
  const post = new Post(port, URL, HEADERS)
  post.answer.then(answer => answer.pause())
  const piece = line('c'.repeat(200), 1).repeat(1000)
  for (let i = 0; i < 40; i++) await post.write(piece)
  await cut
  post.request.destroy()
  t.pass()
})

t.test('a client that disconnects in the middle: its sent events are appended, nothing breaks', async t => {
  const node = await startNode(t)
  let release: () => void = () => {}
  const begun = new Promise<void>(begin => {
    node.log.through = async (_channel, _drafts, next): Promise<Receipt[]> => {
      begin()
      await new Promise<void>(resolve => {
        release = resolve
      })
      return next()
    }
  })
  const closed = new Promise<void>(resolve => {
    node.app.server.once('connection', socket => socket.once('close', () => resolve()))
  })
  const post = new Post(await node.listen(), URL, HEADERS)
  await post.write(`${line('a', 1)}{"channel":"a","da`)
  await begun
  post.request.destroy()
  await closed
  release()
  await new Promise(resolve => setImmediate(resolve))
  t.same(await node.data('a'), ['1'])
})

t.test('a stopping node ends uploads with a reason', async t => {
  const node = await startNode(t)
  const post = new Post(await node.listen(), URL, HEADERS)
  await post.write(line('a', 1))
  await post.answer
  const closed = node.app.close()
  t.match(lines(await post.text()), [{ channel: 'a' }, { index: 1, error: { code: 'FW_DRAINING' } }])
  await closed
})

t.test('reading stops while the log is slow', async t => {
  const node = await startNode(t)
  let appended = 0
  let release: () => void = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  node.log.through = async (_channel, drafts, next) => {
    appended += drafts.length
    await held
    return next()
  }
  const post = new Post(await node.listen(), URL, HEADERS)
  const piece = line('a', `"${'x'.repeat(1000)}"`).repeat(100)
  let sent = 0
  const all = (async () => {
    for (; sent < 1000; sent++) await post.write(piece)
    post.request.end()
  })()
  // The client is paused: neither its buffer nor the kernel's accepts more.
  for (let last = -1; last !== sent; await new Promise(resolve => setTimeout(resolve, 200))) last = sent
  t.ok(sent < 1000, `${sent} pieces`)
  t.ok(appended <= 256)
  release()
  await all
  t.equal(lines(await post.text()).length, 100_000)
})
