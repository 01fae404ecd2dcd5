// npm run bench:selections: the cost of readers of a part of a channel, compared with readers of all events. Measures
// the CPU of one node with its log in memory and 1,000 HTTP streams, with the same events for each kind of reader in
// turn.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

const MAIN = fileURLToPath(new URL('../dist/services/main.js', import.meta.url))
const READERS = 1000
const TURN_MS = 20
const TYPES = 20

const HELP = `npm run bench:selections -- [options]

  --rate N     events per second (1000)
  --seconds N  duration of each measurement (4)
  --rounds N   measurements of each kind of reader; the median counts (3)
`

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    help: { type: 'boolean', default: false },
  },
})
const [rate, seconds, rounds] = [Number(values.rate), Number(values.seconds), Number(values.rounds)]

interface Kind {
  readonly title: string
  readonly readers?: number
  /** The query of reader `n`. */
  select(n: number): string
}

const filter = (node: object) => `&filter=${encodeURIComponent(JSON.stringify(node))}`

/** Measures the cost of publishing alone. */
const NONE: Kind = { title: 'no readers', readers: 0, select: () => '' }
const ALL: Kind = { title: 'all events', select: () => '' }
const KINDS: readonly Kind[] = [
  NONE,
  ALL,
  {
    title: '10 distinct filters that let all through',
    select: n => filter({ key: `none${n % 10}`, cmp: 'nex' }),
  },
  { title: 'a filter that lets 1 % through', select: () => filter({ key: 'percent', cmp: 'eq', val: '7' }) },
  { title: 'every=1s&newest=type', select: () => '&every=1s&newest=type' },
]

async function startNode() {
  const node = spawn(process.execPath, [MAIN], {
    env: { ...process.env, PORT: '0', FANWIRE_HEARTBEAT: '10m', FANWIRE_DRAIN: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  for await (const piece of node.stdout) {
    output += piece
    const port = Number(/listening on http:\/\/[^"]*:(\d+)/.exec(output)?.[1])
    if (port > 0) {
      node.stdout.on('data', () => {})
      return { node, port }
    }
  }
  throw new Error(`the node did not start: ${output}`)
}

/** CPU time of a process, ms, in ticks of 10 ms. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return 10 * (Number(fields[11]) + Number(fields[12]))
}

/** Opens a reader that counts bytes. */
async function read(port: number, path: string, came: (bytes: number) => void): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)
  await once(socket, 'data')
  socket.on('data', ({ length }) => came(length))
  return socket
}

/** Publishes `count` events, at the rate if the node keeps up with it. */
async function publish(port: number, channel: string, count: number): Promise<void> {
  const each = Math.round((rate * TURN_MS) / 1000)
  const from = Date.now()
  for (let sent = 0; sent < count;) {
    const events = Array.from({ length: each }, () => {
      const n = sent++
      return { channel, data: 'x'.repeat(64), type: `t${n % TYPES}`, tags: { percent: `${n % 100}` } }
    })
    const answer = await fetch(`http://127.0.0.1:${port}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ events }),
    })
    await answer.text()
    await sleep(Math.max(0, from + (sent * 1000) / rate - Date.now()))
  }
}

/** CPU of the node per event, µs. */
async function measure(kind: Kind, round: number): Promise<number> {
  const { node, port } = await startNode()
  const channel = `bench${round}`
  let bytes = 0
  const sockets: Socket[] = []
  try {
    for (let n = 0; n < (kind.readers ?? READERS); n++) {
      const path = `/v1/stream?channel=${channel}${kind.select(n)}`
      sockets.push(await read(port, path, count => (bytes += count)))
    }
    await publish(port, channel, rate)
    await sleep(1200)
    bytes = 0
    const before = cpuOf(node.pid ?? 0)
    const sent = rate * seconds
    await publish(port, channel, sent)
    // Waits for events that readers have not received yet, so that their cost counts.
    await sleep(1200)
    const perEvent = (1000 * (cpuOf(node.pid ?? 0) - before)) / sent
    process.stderr.write(
      `${kind.title}: ${sent} events, ${Math.round(bytes / 2 ** 20)} MiB, ${perEvent.toFixed(0)} µs\n`,
    )
    return perEvent
  } finally {
    for (const socket of sockets) socket.destroy()
    node.kill('SIGKILL')
    await once(node, 'exit')
  }
}

const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(HELP)
  const measured = new Map<Kind, number[]>(KINDS.map(kind => [kind, []]))
  for (let round = 0; round < rounds; round++) {
    for (const kind of KINDS) measured.get(kind)?.push(await measure(kind, round))
  }
  const of = (kind: Kind) => median(measured.get(kind) ?? [])
  const [none, all] = [of(NONE), of(ALL)]
  const head = `${READERS.toLocaleString('en')} stream readers, ${rate} events/s`
  process.stdout.write(
    `| ${head} | CPU of the node per event | of the fan-out, relative to all events |\n|---|---|---|\n`,
  )
  for (const kind of KINDS) {
    const ratio = ((of(kind) - none) / (all - none)).toFixed(2)
    process.stdout.write(`| ${kind.title} | ${of(kind).toFixed(0)} µs | ${ratio} |\n`)
  }
}

await main()
