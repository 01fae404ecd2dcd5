// Clients that end their side of the connection after a request, as `printf … | nc -N` does.

import { once } from 'node:events'
import t from 'tap'
import { makeCertificate } from '../../contract/http2.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { until } from '../../support/until.ts'
import { Raw } from './app.ts'
import { Gate } from '../broker/fanout/scripted-log.ts'

const { cert, key } = makeCertificate()
const plain = await startMemoryNode({ DURABLE_STREAMS: '1' })
const secure = await startMemoryNode({ TLS_CERT: cert, TLS_KEY: key })
t.teardown(() => Promise.all([plain.close(), secure.close()]))
const NODES = { plain, secure }

const HOST = 'Host: 127.0.0.1\r\n'

/** Sends a request and ends the client's side. Returns when both are sent. */
async function half(node: Node, bytes: string): Promise<Raw> {
  const connected = once(node.app.server, 'connection')
  const raw = new Raw(node.port, { secure: node.secure })
  await Promise.all([connected, once(raw.socket, node.secure ? 'secureConnect' : 'connect')])
  raw.socket.end(bytes)
  await once(raw.socket, 'finish')
  return raw
}

for (const [name, node] of Object.entries(NODES)) {
  t.test(`H8: a slow answer still arrives, ${name}`, async t => {
    const channel = fresh()
    const gate = new Gate()
    const append = node.log.append.bind(node.log)
    node.log.append = async (...args) => {
      await gate.pass()
      return append(...args)
    }
    const raw = await half(
      node,
      `POST /v1/channels/${channel}/events HTTP/1.1\r\n${HOST}Content-Type: application/json\r\n` +
        'Content-Length: 1\r\n\r\n1',
    )
    await until('it is appended', () => gate.waiting === 1)
    gate.open()
    node.log.append = append
    await raw.ended
    t.match(raw.text, /^HTTP\/1.1 201 .*\}$/s)
  })

  t.test(`H8: a long poll is answered, and so are the requests after it, ${name}`, async t => {
    const channel = fresh()
    const ask = `GET /v1/long-poll?channel=${channel}&wait=55 HTTP/1.1\r\n${HOST}\r\n`
    const raw = await half(node, ask.repeat(3))
    await until('they wait', () => node.hub.readers(channel) === 3)
    await node.append(channel, '"seen"')
    await raw.ended
    t.equal(raw.text.match(/HTTP\/1.1 200 /g)?.length, 3)
    t.equal(raw.text.match(/"seen"/g)?.length, 3)
  })

  t.test(`H8: a poll is held until its client is known to be gone, ${name}`, async t => {
    const channel = fresh()
    const ask = (version: string) =>
      `GET /v1/long-poll?channel=${channel}&wait=55 HTTP/${version}\r\n${HOST}Connection: keep-alive\r\n\r\n`
    const [here, old, gone] = await Promise.all([
      half(node, ask('1.1')),
      half(node, ask('1.0')),
      half(node, ask('1.1')),
    ])
    await until('they wait', () => node.hub.readers(channel) === 3)
    gone.close()
    await until('one has gone', () => node.hub.readers(channel) === 2)
    t.match(await here.until(/./), /^HTTP\/1.1 100 Continue\r\n\r\n/)
    await node.append(channel, '"seen"')
    await Promise.all([here.ended, old.ended])
    t.match(here.text, /^(HTTP\/1.1 100 Continue\r\n\r\n)+HTTP\/1.1 200 .*"seen"/s)
    t.match(old.text, /^HTTP\/1.1 200 .*"seen"/s)
  })

  t.test(`H8: a stream continues until its client is gone, ${name}`, async t => {
    for (const path of ['sse', 'stream', 'push']) {
      const channel = fresh()
      const raw = await half(node, `GET /v1/${path}?channel=${channel} HTTP/1.1\r\n${HOST}\r\n`)
      await until('it reads', () => node.hub.readers(channel) === 1)
      for (const data of ['"first"', '"second"']) {
        await node.append(channel, data)
        await raw.until(new RegExp(data))
        t.match(raw.text, data, path)
      }
      raw.close()
      await until('a write reveals that it is gone', async () => {
        await node.append(channel, '1')
        return node.hub.readers(channel) === 0
      })
    }
  })

  t.test(`H8: a client that disconnects completely is released soon, ${name}`, async t => {
    for (const path of ['sse', 'stream', 'push']) {
      const channel = fresh()
      const raw = new Raw(node.port, { secure: node.secure })
      raw.send(`GET /v1/${path}?channel=${channel} HTTP/1.1\r\n${HOST}\r\n`)
      await raw.until(/"open"/)
      t.equal(node.hub.readers(channel), 1)
      raw.close()
      // Before the next heartbeat, which is due after 25 s.
      await until('it is released', () => node.hub.readers(channel) === 0, 20_000)
    }
  })

  t.test(`H8: connections without a request end with their client's side, ${name}`, async () => {
    await until('the others are gone', () => node.app.sockets.size === 0)
    const raws = [new Raw(node.port), new Raw(node.port, { secure: node.secure })]
    await until('they are there', () => node.app.sockets.size === 2)
    for (const raw of raws) raw.socket.end()
    await Promise.all(raws.map(raw => raw.ended))
    await until('they are gone', () => node.app.sockets.size === 0)
  })
}

t.test('H8: a client that leaves after the first probes is detected too', async t => {
  const { hub } = plain
  const channel = fresh()
  const stream = `/v1/stream/${channel}`
  await fetch(`http://127.0.0.1:${plain.port}${stream}`, { method: 'PUT' })
  const paths = [`/v1/long-poll?channel=${channel}&wait=55`, `${stream}?offset=now&live=long-poll`]
  const raws = await Promise.all(paths.map(path => half(plain, `GET ${path} HTTP/1.1\r\n${HOST}\r\n`)))
  await until('they wait', () => hub.readers(channel) === 2)
  await Promise.all(raws.map(raw => raw.until(/(100 Continue.*){2}/s)))
  t.equal(hub.readers(channel), 2)
  for (const raw of raws) raw.close()
  await until('they are gone', () => hub.readers(channel) === 0, 20_000)
})

t.test('H8: so is one of the server-sent events of Durable Streams', async t => {
  const { hub } = plain
  const stream = `/v1/stream/${fresh()}`
  await fetch(`http://127.0.0.1:${plain.port}${stream}`, { method: 'PUT' })
  const stats = hub.connections.wires.of('durable-streams')
  const raw = await half(plain, `GET ${stream}?offset=now&live=sse HTTP/1.1\r\n${HOST}\r\n`)
  await raw.until(/event: control/)
  t.match(await raw.until(/(\n:\n\n.*){2}/s), /(\n:\n\n.*){2}/s)
  t.equal(stats.connections, 1)
  raw.close()
  await until('it is gone', () => stats.connections === 0, 20_000)
})
