// npm run bench:durable: publishes that are on disk before their acknowledgement, over 50 concurrent connections with
// one publish in flight each. Compares the file log, Redis with appendfsync always, and NATS JetStream's file store,
// and also the file log and JetStream with delayed sync. They take turns in one run.

import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { program } from '../infra/local/packages.ts'
import { freePort } from '../infra/local/ports.ts'
import { channelNames } from './cases/broadcast.ts'
import { chosen, say } from './command.ts'
import type { OneByOne, OneByOneMethods, OneByOneOrder } from './load/one-by-one.ts'
import { Remote } from './load/remote.ts'
import { fanwire } from './peers/fanwire.ts'
import { startRedis } from './processes/redis.ts'
import { Server } from './processes/server.ts'
import { machine } from './report.ts'

const HELP = `npm run bench:durable -- [options]

  --runs N      runs of each; the median counts (3)
  --count N     publishes of a run, after a quarter as many for warm-up (20000)
  --folder DIR  a folder on the disk to measure (the system's temporary folder)
  --only NAMES  comma separated: file, redis, jetstream, and file-later, jetstream-later, which sync later
`
const LOAD = fileURLToPath(new URL('./load/one-by-one.ts', import.meta.url))
const CONNECTIONS = 50
const SIZE = 64

interface Running {
  readonly title: string
  readonly order: Pick<OneByOneOrder, 'port' | 'by'>
  close(): Promise<void>
}

interface Durable {
  readonly name: string
  start(folder: string): Promise<Running>
}

const node = async (folder: string, env: Record<string, string>): Promise<Omit<Running, 'title'>> => {
  const options = { redisUrl: '', throughRedis: false, heartbeats: false, dir: folder, env }
  const { port, server, publishing } = await fanwire.start(options)
  const by = publishing?.POST
  if (by === undefined) throw new Error('fanwire accepts no POST')
  return { order: { port, by }, close: () => server.kill() }
}

const fileLog = (name: string, fsync: string): Durable => ({
  name,
  async start(folder) {
    const running = await node(folder, { FANWIRE_DATA: join(folder, 'data'), FANWIRE_FSYNC: fsync })
    return { title: `fanwire on files, FANWIRE_FSYNC=${fsync}`, ...running }
  },
})

const redis: Durable = {
  name: 'redis',
  async start(folder) {
    const { url, server } = await startRedis(folder, ['--appendonly', 'yes', '--appendfsync', 'always'])
    const running = await node(folder, { REDIS_URL: url })
    const close = async () => {
      await running.close()
      await server.kill()
    }
    return { title: 'fanwire on Redis, appendfsync always', ...running, close }
  },
}

const STREAM = JSON.stringify({
  name: 'bench',
  subjects: ['bench.>'],
  storage: 'file',
  retention: 'limits',
  discard: 'old',
  num_replicas: 1,
  max_msgs_per_subject: 1000,
})

/** Makes every later write in the folder synchronous; needs ext4 and root. Returns whether it succeeded. */
function writesThrough(folder: string): boolean {
  try {
    execFileSync('chattr', ['+S', folder], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** NATS before 2.10 syncs every two minutes, whatever its settings. `through` makes the folder sync each write. */
const jetstream = (name: string, through: boolean): Durable => ({
  name,
  async start(folder) {
    const { path: command, env } = await program('nats')
    const port = await freePort()
    const store = join(folder, 'js')
    mkdirSync(store)
    if (through && !writesThrough(store)) throw new Error(`chattr +S ${store} failed`)
    const config = join(folder, 'nats.conf')
    writeFileSync(config, `listen: 127.0.0.1:${port}\njetstream { store_dir: "${store}" }\n`)
    const server = await Server.start({ command, env, args: ['-c', config], ready: /Server is ready/ })
    const [, version] = / v?(\d\S*)/.exec(execFileSync(command, ['--version'], { env }).toString()) ?? []
    const how = through ? 'in a folder that writes through (chattr +S)' : 'which acknowledges before it syncs'
    const by = {
      hello:
        'CONNECT {"verbose":false,"pedantic":false}\r\nSUB _INBOX.{connection} 1\r\n' +
        `PUB $JS.API.STREAM.CREATE.bench _INBOX.{connection} ${STREAM.length}\r\n${STREAM}\r\n`,
      ready: 'stream_create_response',
      line: 'PUB bench.{channel} _INBOX.{connection} {bytes}\r\n{data}\r\n',
      answer: '"seq"',
    }
    return { title: `NATS JetStream ${version}, ${how}`, order: { port, by }, close: () => server.kill() }
  },
})

const ALL = [
  fileLog('file', 'always'),
  redis,
  jetstream('jetstream', true),
  fileLog('file-later', '1m'),
  jetstream('jetstream-later', false),
]

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    count: { type: 'string', default: '20000' },
    folder: { type: 'string', default: tmpdir() },
    only: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

async function measure(durable: Durable): Promise<OneByOne & { title: string }> {
  const folder = await mkdtemp(join(values.folder, 'fanwire-durable-'))
  const load = new Remote<OneByOneMethods>(LOAD)
  let running: Running | undefined
  try {
    running = await durable.start(folder)
    const order = { ...running.order, connections: CONNECTIONS, channels: channelNames(100), size: SIZE }
    const count = Number(values.count)
    await load.call('run', { ...order, count: Math.ceil(count / 4) })
    return { title: running.title, ...(await load.call('run', { ...order, count })) }
  } finally {
    await load.close()
    await running?.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(HELP)
  const wanted = chosen(ALL, values.only, HELP)
  const measured = new Map<string, OneByOne[]>()
  for (let run = 1; run <= Number(values.runs); run++) {
    for (const durable of wanted) {
      const { title, ...figures } = await measure(durable)
      measured.set(title, [...(measured.get(title) ?? []), figures])
      say(`${title}  run ${run}: ${Math.round(figures.published / figures.seconds)} publishes/s`)
    }
  }
  process.stdout.write(
    `\n${machine()}\n\n| one by one over ${CONNECTIONS} connections | publishes/s | p50 | p99 |\n|---|---|---|---|\n`,
  )
  for (const [title, runs] of measured) {
    const rate = ({ published, seconds }: OneByOne) => published / seconds
    const median = runs.sort((a, b) => rate(a) - rate(b))[Math.floor(runs.length / 2)]
    if (median === undefined) continue
    const ms = (value: number) => `${value.toFixed(1)} ms`
    process.stdout.write(
      `| ${title} | ${Math.round(rate(median))} | ${ms(median.p50)} | ${ms(median.p99)} |\n`,
    )
  }
}

await main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
})
