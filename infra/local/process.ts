// A process of the cluster: started, watched for its ready line, and killed when this process ends.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** A process that is not ready within this time, ms, has failed. */
const READY_WITHIN = 30_000
/** A process that has not stopped within this time, ms, is killed. */
const STOP_WITHIN = 30_000
const KEPT_LINES = 10_000

export interface ProcessOrder {
  readonly command: string
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly cwd?: string
  /** A line of its output that reports readiness; or a check that is repeated. */
  readonly ready: RegExp | (() => Promise<boolean>)
  /** Receives every line of its output. */
  readonly onLine?: ((line: string) => void) | undefined
}

/** The exit of a process. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class Process {
  readonly #child: ChildProcess
  readonly #waiting = new Set<(line: string) => void>()
  /** Its last lines, on stdout and stderr. */
  readonly lines: string[] = []
  readonly exit: Promise<Exit>
  ended = false

  private constructor({ command, args, env, cwd, onLine }: ProcessOrder) {
    // Its own process group: Ctrl-C on the terminal is meant for the parent, which stops the rest in order.
    this.#child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const read = async (stream: NodeJS.ReadableStream | null) => {
      if (stream === null) return
      for await (const line of createInterface({ input: stream })) this.#heard(line, onLine)
    }
    const exited = once(this.#child, 'exit').catch((error: Error) => {
      this.#heard(error.message, onLine)
      return [null, null]
    })
    // Resolves only after all output has been read.
    this.exit = Promise.all([exited, read(this.#child.stdout), read(this.#child.stderr)]).then(
      ([[code, signal]]) => ({ code, signal }),
    )
    const { pid } = this.#child
    const watch = pid === undefined ? undefined : watchOver(-pid)
    const kill = () => this.#signal('SIGKILL')
    process.on('exit', kill)
    void exited.then(() => {
      this.ended = true
      process.off('exit', kill)
      watch?.kill('SIGKILL')
    })
  }

  /** Returns when it is ready. Raises with its output if it exits first, or is not ready within 30 s. */
  static async start(order: ProcessOrder): Promise<Process> {
    const process = new Process(order)
    const within = AbortSignal.timeout(READY_WITHIN)
    const late = once(within, 'abort').then(() => false)
    const gone = process.exit.then(() => false)
    const { ready } = order
    const isReady =
      ready instanceof RegExp ? process.logged(ready).then(() => true) : ask(ready, process, within)
    if (await Promise.race([isReady, gone, late])) return process
    await process.stop('SIGKILL')
    throw new Error(`${order.command} did not start:\n${process.lines.join('\n')}`)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Returns when a matching line has been written, including earlier ones. */
  async logged(pattern: RegExp): Promise<string> {
    const found = this.lines.find(line => pattern.test(line))
    if (found !== undefined) return found
    return new Promise(resolve => {
      const look = (line: string) => {
        if (!pattern.test(line)) return
        this.#waiting.delete(look)
        resolve(line)
      }
      this.#waiting.add(look)
    })
  }

  /** Sends a signal without waiting. */
  signal(signal: NodeJS.Signals): void {
    this.#signal(signal)
  }

  /** Sends a signal, SIGTERM unless given, and returns when the process has exited; kills it after 30 s. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.#signal(signal)
    const timer = setTimeout(() => this.#signal('SIGKILL'), STOP_WITHIN)
    const exit = await this.exit
    clearTimeout(timer)
    return exit
  }

  /** Sends a signal; SIGKILL goes to the whole process group, because nginx has several processes. */
  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child
    if (pid === undefined || this.ended) return
    try {
      process.kill(signal === 'SIGKILL' ? -pid : pid, signal)
    } catch {
      // It has just exited.
    }
  }

  #heard(line: string, onLine?: (line: string) => void): void {
    this.lines.push(line)
    if (this.lines.length > KEPT_LINES) this.lines.shift()
    onLine?.(line)
    for (const look of this.#waiting) look(line)
  }
}

/** Checks every 20 ms whether it is ready. */
async function ask(ready: () => Promise<boolean>, process: Process, within: AbortSignal): Promise<boolean> {
  while (!within.aborted && !process.ended) {
    if (await ready()) return true
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return false
}

/**
 * Starts a watch, which acts when this process has ended for any reason: it sends SIGKILL to `target`, a process
 * id or a negative process group id, and removes `dir`, unless that is ''. It reads a pipe, which ends with this
 * process.
 */
export function watchOver(target: number, dir = ''): ChildProcess {
  const watch = spawn('sh', ['-c', 'read _; kill -9 "$1"; rm -rf "$2"', 'sh', `${target}`, dir], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  watch.on('error', () => {})
  watch.unref()
  ;(watch.stdin as { unref?(): void } | null)?.unref?.()
  return watch
}
