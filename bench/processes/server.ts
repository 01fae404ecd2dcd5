// A process of the bench: started, watched for its ready line, and killed when the bench ends.

import { type ChildProcess, spawn } from 'node:child_process'
import { familyOf } from './proc.ts'

export interface ServerOrder {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** A line of its output that reports readiness. */
  readonly ready: RegExp
}

/** Maximum ms until a server is ready; below, until it has stopped, before it is killed. */
const READY_WITHIN = 20_000
const STOP_WITHIN = 15_000
/** Characters of the output that are kept. */
const KEPT_OUTPUT = 64 * 1024

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
// Without a listener a signal ends this process before it has stopped the others.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))

export class Server {
  readonly #child: ChildProcess
  readonly #exit: Promise<void>
  #output = ''
  #onOutput: () => void = () => {}

  private constructor(order: ServerOrder) {
    this.#child = spawn(order.command, order.args, {
      cwd: order.cwd,
      env: { PATH: process.env.PATH, ...order.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    running.add(this.#child)
    this.#exit = new Promise(resolve => {
      const ended = () => {
        running.delete(this.#child)
        resolve()
      }
      this.#child.once('exit', ended)
      this.#child.once('error', error => {
        this.#output += error.message
        ended()
      })
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-KEPT_OUTPUT)
        this.#onOutput()
      })
    }
  }

  /** Returns when it is ready. Raises with its output when it is not within 20 s. */
  static async start(order: ServerOrder): Promise<Server> {
    const server = new Server(order)
    const ready = new Promise<boolean>(resolve => {
      const timer = setTimeout(() => resolve(false), READY_WITHIN)
      server.#onOutput = () => {
        if (order.ready.test(server.#output)) resolve(true)
      }
      server.#exit.then(() => resolve(false))
      void server.#exit.finally(() => clearTimeout(timer))
    })
    if (await ready) return server
    await server.kill()
    throw new Error(`${order.command} ${order.args.join(' ')} did not start:\n${server.#output}`)
  }

  get output(): string {
    return this.#output
  }

  /** Its process, and its child processes. */
  get pids(): number[] {
    return this.#child.pid === undefined ? [] : familyOf(this.#child.pid)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Requests a stop, and kills it if it does not exit. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const timer = setTimeout(() => this.kill(), STOP_WITHIN)
    this.#child.kill(signal)
    await this.#exit
    clearTimeout(timer)
  }

  async kill(): Promise<void> {
    for (const pid of this.pids.reverse()) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has exited by itself.
      }
    }
    await this.#exit
  }
}
