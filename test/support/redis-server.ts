// A separate Redis for tests: on a free port of 127.0.0.1, stopped when its test or the test process ends.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../infra/local/ports.ts'
import { watchOver } from '../../infra/local/process.ts'
import { redisBinary } from './redis-binary.ts'

/** The rights that a node needs. */
const ACL = fileURLToPath(new URL('../../infra/redis.acl', import.meta.url))

export interface RedisServer {
  readonly url: string
  readonly port: number
  /** Its working directory. */
  readonly dir: string
  /** Everything it printed. */
  output(): string
  /** Stops it (SIGTERM) and waits for its end; removes the directory that was made for it. */
  stop(): Promise<void>
  /** Kills it (SIGKILL); `restart` starts it again. */
  kill(): Promise<void>
  /** Pauses it (SIGSTOP), and resumes it (SIGCONT). */
  pause(): void
  resume(): void
  /** Ends it, by `signal`, and starts it again on the same port and directory. */
  restart(signal?: NodeJS.Signals): Promise<void>
}

export interface RedisServerOptions {
  /** Kept when the server stops. Without it, a temporary folder is used and removed. */
  readonly dir?: string
  /** Further arguments, e.g. `['--appendonly', 'yes']`. Saves are off unless requested. */
  readonly args?: readonly string[]
  /** 0: any free port. */
  readonly port?: number
  /** Makes it a sentinel, with this configuration in addition to its address. */
  readonly sentinel?: string
  /** Its URL names the user of infra/redis.acl, with only the rights there. */
  readonly acl?: true
  /** Makes it accept only TLS, with the certificate and key at these paths. */
  readonly tls?: { readonly cert: string; readonly key: string }
}

export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'fanwire-redis-')))
  await mkdir(dir, { recursive: true })
  const { sentinel, tls } = options
  const place = { dir, own: options.dir === undefined, sentinel, tls }
  const args = [...(options.acl ? ['--aclfile', ACL] : []), ...(options.args ?? [])]
  const login = options.acl ? 'fanwire:password@' : ''
  let port = options.port ?? 0
  let running = await begin(port, place, args)
  port = running.port

  const end = async (signal: NodeJS.Signals) => {
    hold(running.child, true)
    running.child.kill(signal)
    running.child.kill('SIGCONT')
    await running.ended
  }
  return {
    url: tls ? `rediss://${login}localhost:${port}` : `redis://${login}127.0.0.1:${port}`,
    port,
    dir,
    output: () => running.output(),
    async stop() {
      await end('SIGTERM')
      if (place.own) await rm(dir, { recursive: true, force: true })
    },
    kill: () => end('SIGKILL'),
    pause: () => void running.child.kill('SIGSTOP'),
    resume: () => void running.child.kill('SIGCONT'),
    async restart(signal = 'SIGTERM') {
      await end(signal)
      running = await begin(port, place, args)
    },
  }
}

/** Where Redis keeps its append-only files. */
export function aofDir({ dir }: Pick<RedisServer, 'dir'>): string {
  return join(dir, 'appendonlydir')
}

/** Removes the last `bytes` of the append-only file, as a crash of the machine may. Redis must not be running. */
export async function cutAof(redis: Pick<RedisServer, 'dir'>, bytes: number): Promise<void> {
  const names = (await readdir(aofDir(redis))).filter(name => name.endsWith('.incr.aof'))
  // The newest is the one with the highest number: "appendonly.aof.<n>.incr.aof".
  const number = (name: string) => Number(/\.(\d+)\.incr\.aof$/.exec(name)?.[1])
  const newest = names.sort((a, b) => number(a) - number(b)).at(-1)
  if (newest === undefined) throw new Error('Redis has no append-only file')
  const file = join(aofDir(redis), newest)
  await truncate(file, Math.max(0, (await stat(file)).size - bytes))
}

/**
 * The Redis for a test that neither restarts it nor changes its settings: that of `REDIS_URL`, or a separate one.
 * Tests on a shared one are isolated by their key prefix.
 */
export async function anyRedis(
  options: RedisServerOptions = {},
): Promise<{ url: string; stop(): Promise<void> }> {
  const url = process.env.REDIS_URL
  return url ? { url, async stop() {} } : startRedis(options)
}

interface Place {
  readonly dir: string
  /** The folder was made for this server, and is removed with it. */
  readonly own: boolean
  readonly sentinel: string | undefined
  readonly tls: RedisServerOptions['tls']
}

interface Running {
  readonly child: ChildProcess
  readonly port: number
  readonly ended: Promise<void>
  output(): string
}

/** Starts it and waits until it accepts connections; on another port if the chosen one was taken meanwhile. */
async function begin(port: number, place: Place, args: readonly string[]): Promise<Running> {
  for (let left = port === 0 ? 5 : 1; ; left--) {
    const running = await launch(port === 0 ? await freePort() : port, place, args)
    const ready = new Promise<boolean>(resolve => {
      running.child.stdout?.on('data', () => {
        if (/Ready to accept connections|Sentinel ID is/.test(running.output())) resolve(true)
      })
      running.ended.then(() => resolve(false))
    })
    if (await ready) {
      hold(running.child, false)
      return running
    }
    if (left <= 1 || !running.output().includes('Address already in use'))
      throw new Error(`redis-server did not start: ${running.output()}`)
  }
}

async function launch(port: number, place: Place, args: readonly string[]): Promise<Running> {
  const { path, env } = await redisBinary()
  const child = spawn(path, [...(await argsOf(port, place)), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', chunk => {
      output = (output + chunk).slice(-65_536)
    })
  const ended = new Promise<void>(resolve => {
    child.once('error', error => {
      output += error.message
      resolve()
    })
    child.once('exit', () => resolve())
  })
  const watch = child.pid === undefined ? undefined : watchOver(child.pid, place.own ? place.dir : '')
  const kill = () => child.kill('SIGKILL')
  process.on('exit', kill)
  ended.then(() => {
    process.off('exit', kill)
    watch?.kill('SIGKILL')
  })
  return { child, port, ended, output: () => output }
}

async function argsOf(port: number, { dir, sentinel, tls }: Place): Promise<string[]> {
  const listen = tls
    ? `--port 0 --tls-port ${port} --tls-auth-clients no --tls-replication yes --tls-cluster yes`
    : `--port ${port}`
  const files = tls
    ? ['--tls-cert-file', tls.cert, '--tls-key-file', tls.key, '--tls-ca-cert-file', tls.cert]
    : []
  if (sentinel !== undefined) {
    // A sentinel saves its state in its configuration file.
    const file = join(dir, 'sentinel.conf')
    await writeFile(file, sentinel)
    return [file, '--sentinel', ...listen.split(' '), ...files, '--bind', '127.0.0.1', '--dir', dir]
  }
  const where = ['--bind', '127.0.0.1', '--dir', dir]
  return [...listen.split(' '), ...files, ...where, '--save', '', '--daemonize', 'no']
}

/** Sets whether the server keeps the test process alive: only while something waits for it. */
function hold(child: ChildProcess, held: boolean): void {
  for (const each of [child, child.stdout, child.stderr]) {
    const handle = each as { ref?(): void; unref?(): void } | null
    if (held) handle?.ref?.()
    else handle?.unref?.()
  }
}
