// A node is stopped while clients still publish: each appended event has a result, and the clients receive the reason
// why no more events are accepted.

import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { type RunningNode, startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** The outcome of an upload. */
interface Uploaded {
  /** Lines of the response. */
  readonly lines: readonly string[]
  /** Set if the connection broke. */
  readonly error: Error | undefined
}

/** Sends lines until the response ends. `begun` is called whenever results arrive. */
type Upload = (node: RunningNode, channel: string, begun: () => void) => Promise<Uploaded>

const lineFor = (channel: string) => `${JSON.stringify({ channel, data: 'x'.repeat(100) })}\n`.repeat(10)

/** Like most clients, continues to send until the connection is closed. */
const overHttp1: Upload = async (node, channel, begun) => {
  const socket = connect(node.port, '127.0.0.1')
  let error: Error | undefined
  let text = ''
  socket.on('error', cause => {
    error = cause
  })
  socket.on('data', data => {
    text += data
    if (data.includes('"id"')) begun()
  })
  socket.write(
    'POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n' +
      'Transfer-Encoding: chunked\r\n\r\n',
  )
  const piece = lineFor(channel)
  const send = () => {
    if (!socket.writable) return
    if (socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`)) setImmediate(send)
    else socket.once('drain', send)
  }
  send()
  socket.on('end', () => socket.destroy())
  await new Promise(resolve => socket.once('close', resolve))
  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  if (!body.endsWith('\r\n0\r\n\r\n')) error ??= new Error('the answer has no end')
  const lines = body
    .replaceAll(/(^|\r\n)[0-9a-f]+\r\n/g, '')
    .trim()
    .split('\n')
  return { lines, error }
}

const overHttp2: Upload = async (node, channel, begun) => {
  const { address } = JSON.parse(await node.logged(/cleartext HTTP\/2/)) as { address: string }
  const session = connectHttp2(address)
  session.on('error', () => {})
  const stream = session.request({
    ':method': 'POST',
    ':path': '/v1/events',
    'content-type': 'application/x-ndjson',
  })
  let error: Error | undefined
  let text = ''
  let ended = false
  stream.on('error', cause => {
    error = cause
  })
  stream.on('data', data => {
    text += data
    if (text.includes('"id"')) begun()
  })
  stream.once('end', () => {
    ended = true
  })
  const piece = lineFor(channel)
  const send = () => {
    if (!stream.writable) return
    if (stream.write(piece)) setImmediate(send)
    else stream.once('drain', send)
  }
  send()
  // Node does not close a stream that is reset without an error while it still has something to send.
  await new Promise(resolve => {
    stream.once('end', resolve)
    stream.once('close', resolve)
    session.once('close', resolve)
  })
  session.destroy()
  if (!ended) error ??= new Error('the answer has no end')
  return { lines: text.trim().split('\n'), error }
}

/** `late`: the upload starts after SIGTERM, while the node still accepts connections. */
async function stopsWell(t: Test, upload: Upload, late = false): Promise<void> {
  const channel = `stop-${upload.name}-${late}`
  const node = await startNode({
    env: {
      REDIS_URL: redis.url,
      FANWIRE_H2C_PORT: '0',
      FANWIRE_DRAIN: '100ms',
      FANWIRE_DRAIN_NOTICE: late ? '5s' : '0',
    },
  })
  t.teardown(() => node.kill())
  let stopped = false
  const stop = () => {
    if (!stopped) node.signal('SIGTERM')
    stopped = true
  }
  if (late) {
    stop()
    await node.logged(/not ready: the node is stopping/)
  }
  const { lines, error } = await upload(node, channel, stop)
  t.equal(error, undefined, 'the connection ends, and is not reset')
  t.match(lines.at(-1), /"code":"FW_DRAINING"/, 'the last line has the reason')
  const results = lines.filter(line => line.includes('"id"'))
  t.equal(results.length, lines.length - 1)
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  const [[newest = ''] = []] = await client.xrevrange(`fw:{${channel}}:s`, '+', '-', 'COUNT', 1)
  t.equal(`${results.length}-0`, newest, 'every event that was appended has its result')
  t.match(await node.exit, { code: 0 }, node.logs.join('\n'))
}

t.test('S8: a stopping node notifies an upload, with a result for every event', t => stopsWell(t, overHttp1))
t.test('S8: an upload that starts after SIGTERM is notified too', t => stopsWell(t, overHttp1, true))
t.test('S8: the same over HTTP/2', t => stopsWell(t, overHttp2))
