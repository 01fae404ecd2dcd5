// WORKERS=2: two processes behind one port serve as one node, and each survives a crash of the other.

import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import t from 'tap'
import { until } from '../support/until.ts'
import { type Client, type Item, WIRES, type Wire } from '../contract/clients.ts'
import { launch, type RunningNode, runNode, startNode } from '../support/node.ts'
import { anyRedis } from '../support/redis-server.ts'

/** Number of readers for each long-lived wire and worker. */
const CLIENTS = 3

const STREAMS = WIRES.filter(wire => wire.streams)
const redis = await anyRedis()
const prefix = `fwtest${Math.random().toString(36).slice(2, 8)}`
t.teardown(() => redis.stop())

const settings = (more: Record<string, string> = {}) => ({
  WORKERS: '2',
  REDIS_URL: redis.url,
  FANWIRE_REDIS_PREFIX: prefix,
  FANWIRE_DRAIN: '200ms',
  LOG_LEVEL: 'debug',
  ...more,
})
const start = (more?: Record<string, string>) => startNode({ env: settings(more) })

/** Process ids of the workers that have become ready so far, by number. */
function workersOf(node: RunningNode): Map<number, number> {
  const found = new Map<number, number>()
  for (const line of node.logs) {
    const { worker, pid, msg } = JSON.parse(line)
    if (msg === 'ready') found.set(worker, pid)
  }
  return found
}

/** Sends one request on a new connection, which the next worker accepts, or on the connection of `agent`. */
async function get(node: RunningNode, path: string, agent: Agent | false = false): Promise<string> {
  const asked = request({ host: '127.0.0.1', port: node.port, path, agent }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  let body = ''
  for await (const piece of answer.setEncoding('utf8')) body += piece
  return body
}

/** The value of the metric `name` (including its labels) in `text`. */
function metric(text: string, name: string): number {
  const line = text.split('\n').find(each => each.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? Number.NaN)
}

/** Publishes over one connection. Returns the ids. */
async function publish(node: RunningNode, channel: string, count: number): Promise<string[]> {
  const lines = Array.from({ length: count }, (_, n) => JSON.stringify({ channel, data: { n } }))
  const answer = await fetch(`${node.url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', connection: 'close' },
    body: lines.join('\n'),
  })
  return (await answer.text())
    .trim()
    .split('\n')
    .map(line => (JSON.parse(line) as { id: string }).id)
}

/** Opens readers of all long-lived wires one at a time, so that the workers take turns. */
async function readers(node: RunningNode, channel: string): Promise<{ wire: Wire; client: Client }[]> {
  const opened: { wire: Wire; client: Client }[] = []
  for (const wire of STREAMS) {
    for (let n = 0; n < 2 * CLIENTS; n++) {
      opened.push({ wire, client: await wire.connect(node, { channels: [channel] }) })
    }
  }
  return opened
}

/** The ids of the next `count` events. Raises on a gap or a close. */
async function take(client: Client, count: number): Promise<string[]> {
  const ids: string[] = []
  while (ids.length < count) ids.push((JSON.parse(await client.event()) as { id: string }).id)
  return ids
}

/** How a client's connection ends, after any other messages. */
async function end(client: Client): Promise<{ code?: number; retry?: number }> {
  for (;;) {
    const item: Item = await client.next()
    if ('close' in item) return item.close
  }
}

t.test('two workers serve as one node', async t => {
  const node = await start()
  t.teardown(() => node.kill())
  // The line of a worker may be written after that of the primary.
  await until('both workers have logged that they are ready', () => workersOf(node).size === 2)
  const [first, second] = [...workersOf(node).values()]
  let published = 0

  await t.test('they log once that they listen', async t => {
    t.equal(workersOf(node).size, 2)
    const lines = node.logs.filter(line => line.includes('listening')).map(line => JSON.parse(line))
    t.equal(lines.length, 1)
    t.match(lines[0], {
      address: node.url,
      workers: 2,
      msg: `listening on ${node.url} with 2 workers`,
      pid: undefined,
    })
    t.match(JSON.parse(await get(node, '/readyz')), { ready: true })
  })

  await t.test('a publish over one connection reaches readers on both workers', async t => {
    const opened = await readers(node, 'both')
    const ids = await publish(node, 'both', 50)
    published += 50
    for (const { wire, client } of opened) t.same(await take(client, 50), ids, wire.name)

    // A worker that does not answer within a second is not counted.
    await until('the readers are counted on both', async () => {
      const { readers: count } = JSON.parse(await get(node, '/v1/channels/both'))
      return count === opened.length
    })
    for (const { client } of opened) client.cut()
  })

  await t.test('/metrics sums over both workers, whichever answers', async t => {
    const opened = await readers(node, 'sums')
    published += (await publish(node, 'sums', 3)).length
    published += (await publish(node, 'sums', 4)).length
    let text = ''
    for (let n = 0; n < 4; n++) {
      // Both workers have released the readers of the previous test, and have answered within a second.
      await until('both workers are in the sum, and their last probes are new', async () => {
        text = await get(node, '/metrics')
        const isNew = metric(text, 'fanwire_probe_age_seconds') < 4
        return isNew && metric(text, 'fanwire_readers') === opened.length
      })
      for (const { name } of STREAMS) {
        t.equal(metric(text, `fanwire_connections{wire="${name}"}`), 2 * CLIENTS, name)
      }
      t.equal(metric(text, 'fanwire_appends_total{result="appended"}'), published)
      t.equal(
        metric(text, 'fanwire_append_seconds_bucket{le="+Inf"}'),
        metric(text, 'fanwire_append_seconds_count'),
      )
      t.equal(metric(text, 'fanwire_ready'), 1)
      t.ok(metric(text, 'fanwire_probe_age_seconds') < 4)
    }
    for (const { client } of opened) client.cut()
  })

  await t.test('an unresponsive worker blocks nobody, and its counters stay', async t => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    await get(node, '/healthz', agent)
    const asked = JSON.parse(await node.logged(/"path":"\/healthz"/)).pid as number
    const other = asked === first ? second : first
    process.kill(other as number, 'SIGSTOP')
    const during = await get(node, '/metrics', agent)
    process.kill(other as number, 'SIGCONT')
    t.equal(metric(during, 'fanwire_appends_total{result="appended"}'), published)
    const sockets = metric(during, 'process_open_fds')
    await until('its open descriptors are counted again, as they were not meanwhile', async () => {
      return metric(await get(node, '/metrics', agent), 'process_open_fds') > sockets
    })
  })

  await t.test('when one is killed, its readers resume and the other is unaffected', async t => {
    const opened = await readers(node, 'killed')
    const before = await publish(node, 'killed', 20)
    for (const { client } of opened) t.same(await take(client, 20), before)
    process.kill(first as number, 'SIGKILL')
    const line = JSON.parse(await node.logged(/a worker ended/))
    t.match(line, { level: 50, pid: first, code: null, signal: 'SIGKILL', replacedIn: Number })
    const after = await publish(node, 'killed', 20)
    published += 40

    const cut = new Map<Wire, number>()
    for (const { wire, client } of opened) {
      const item = await client.next()
      if ('event' in item) {
        t.same([JSON.parse(item.event).id, ...(await take(client, 19))], after, `${wire.name} stays`)
        client.cut()
        continue
      }
      cut.set(wire, (cut.get(wire) ?? 0) + 1)
      const resumed = await wire.connect(node, { channels: ['killed'], cursor: client.cursor })
      t.same(await take(resumed, 20), after, `${wire.name} resumes`)
      resumed.cut()
    }
    for (const wire of STREAMS) {
      const count = cut.get(wire) ?? 0
      t.ok(count > 0 && count < 2 * CLIENTS, `${wire.name}: ${count} of ${2 * CLIENTS} were on it`)
    }

    t.match(JSON.parse(await node.logged(/a worker replaced/)), { worker: 3 })
    await until('the new worker serves', async () => {
      t.match(JSON.parse(await get(node, '/healthz')), { ok: true })
      return node.logs.some(line => /"worker":3,.*"path":"\/healthz"/.test(line))
    })
    t.equal(
      metric(await get(node, '/metrics'), 'fanwire_appends_total{result="appended"}') >= published - 40,
      true,
    )
  })

  await t.test('when all are killed, the same port serves again', async t => {
    const alive = [...workersOf(node).values()].filter(pid => pid !== first)
    for (const pid of alive) process.kill(pid, 'SIGKILL')
    for (const worker of [4, 5]) await node.logged(new RegExp(`"worker":${worker},.*a worker replaced`))
    t.match(JSON.parse(await get(node, '/readyz')), { ready: true })
  })

  await t.test('on SIGTERM all send goodbyes, and the command exits with 0', async t => {
    const opened = await readers(node, 'goodbye')
    const ends = opened.map(({ client }) => end(client))
    t.same(await node.stop(), { code: 0, signal: null })
    for (const close of await Promise.all(ends)) t.match(close, { code: 1001 })
    t.match(JSON.parse(node.logs.at(-1) ?? ''), { msg: 'all workers stopped' })
    t.equal(node.logs.filter(line => line.includes('"not ready: the node is stopping"')).length, 2)
  })
})

t.test('Ctrl-C, which reaches all processes, counts as one signal', async t => {
  const node = await start()
  t.teardown(() => node.kill())
  const opened = await readers(node, 'ctrl-c')
  const ends = opened.map(({ client }) => end(client))
  for (const pid of [node.pid, ...workersOf(node).values()]) process.kill(pid, 'SIGINT')
  t.same(await node.exit, { code: 0, signal: null })
  for (const close of await Promise.all(ends)) t.match(close, { code: 1001 })
})

t.test('on SIGTERM while the workers start, the command exits with 0', async t => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const { child, exit, logs } = launch({ env: settings({ REDIS_URL: `redis://127.0.0.1:${port}` }) })
  t.teardown(() => child.kill('SIGKILL'))
  await once(silent, 'connection')
  child.kill('SIGTERM')
  t.same(await exit, { code: 0, signal: null }, logs.join('\n'))
  silent.close()
})

t.test('a second signal stops all at once', async t => {
  const node = await start({ FANWIRE_DRAIN: '1h' })
  t.teardown(() => node.kill())
  await readers(node, 'second')
  const again = setInterval(() => node.signal('SIGTERM'), 100)
  t.teardown(() => clearInterval(again))
  // The output has ended too, so no process is left that could write to it.
  t.same(await node.exit, { code: 1, signal: null })
})

t.test('when the primary is killed, the workers send goodbyes and exit', async t => {
  const node = await start()
  const opened = await readers(node, 'orphans')
  const ends = opened.map(({ client }) => end(client))
  t.same(await node.kill(), { code: null, signal: 'SIGKILL' })
  for (const close of await Promise.all(ends)) t.match(close, { code: 1001 })
  t.equal(node.logs.filter(line => line.includes('the primary is gone')).length, 2)
  t.equal(node.logs.filter(line => line.includes('"stopped"')).length, 2)
})

t.test('connections beyond the limit of all workers are dropped and counted', async t => {
  const node = await start({ FANWIRE_MAX_CONNECTIONS: '1' })
  t.teardown(() => node.kill())
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  await get(node, '/healthz', agent)
  // Each worker accepts 1 connection, and 32 more for error responses.
  const most = 2 * 33
  const sockets = Array.from({ length: 99 }, () => connect(node.port, '127.0.0.1').on('error', () => {}))
  let closed = 0
  for (const socket of sockets) socket.on('close', () => closed++)
  await until('both workers are full, and dropped connections are counted', async () => {
    const metrics = await get(node, '/metrics', agent)
    // Clients that waited for the start may have left connections, which count until they close.
    const full = closed >= 99 + 1 - most && metric(metrics, 'fanwire_sockets') <= most
    return full && metric(metrics, 'fanwire_connections_refused_total') === closed
  })
  for (const socket of sockets) socket.destroy()
})

t.test('an error that keeps the workers from starting is logged once', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const messagesIn = (output: string) => output.split('\n').filter(line => line.startsWith('fanwire:'))

  const [taken, away, alone] = await Promise.all([
    runNode({ env: settings({ PORT: `${port}` }) }),
    runNode({ env: settings({ REDIS_URL: 'redis://127.0.0.1:1', FANWIRE_LOG_TIMEOUT: '500ms' }) }),
    runNode({ env: { WORKERS: '2' } }),
  ])
  t.equal(taken.code, 1)
  t.match(messagesIn(taken.output), [new RegExp(`^fanwire: port ${port} of 127.0.0.1 is in use`)])
  t.equal(messagesIn(taken.output).length, 1)

  t.equal(away.code, 1)
  t.match(messagesIn(away.output), [/^fanwire: the log cannot be reached: Redis at 127.0.0.1:1: /])
  t.equal(messagesIn(away.output).length, 1)

  t.equal(alone.code, 2)
  t.match(alone.output, /^fanwire: WORKERS is 2, which needs REDIS_URL: .*$/)
})
