// Calls to the bench's own processes. The load generator and the publisher run separately from the case, so that
// neither delays the other.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { dirname, extname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const BENCH = dirname(import.meta.dirname)

export type Methods = Record<string, (argument: never) => unknown>

interface Call {
  readonly id: number
  readonly method: string
  readonly argument: unknown
}

interface Reply {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

/** Answers the parent process until it disconnects, which ends this process. */
export function serve(methods: Methods): void {
  process.on('message', async ({ id, method, argument }: Call) => {
    let reply: Reply
    try {
      reply = { id, result: await methods[method]?.(argument as never) }
    } catch (error) {
      reply = { id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
    if (process.connected) process.send?.(reply)
  })
  process.on('disconnect', () => process.exit())
  // The parent handles Ctrl-C on the terminal, and may still need a report from this process.
  process.on('SIGINT', () => {})
}

/** A module beside that of `url`, as source or built. With `TEST_BUILT=1`, as in tests, always the built one. */
export function sibling(url: string, name: string): string {
  const file = fileURLToPath(new URL(`./${name}${extname(fileURLToPath(url))}`, url))
  if (process.env.TEST_BUILT !== '1' || !file.endsWith('.ts')) return file
  return join(BENCH, 'dist', `${relative(BENCH, file).slice(0, -'.ts'.length)}.js`)
}

export class Remote<M extends Methods> {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  #calls = 0

  /** `file`: a module that calls `serve`. */
  constructor(file: string) {
    this.#child = fork(file, {
      execArgv: file.endsWith('.ts') ? ['--import', 'tsx'] : [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#child.on('message', ({ id, result, error }: Reply) => {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) waiting?.resolve(result)
      else waiting?.reject(new Error(error))
    })
    this.#child.on('exit', code => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${file} ended with ${code}`))
    })
  }

  call<K extends keyof M & string>(
    method: K,
    argument: Parameters<M[K]>[0],
  ): Promise<Awaited<ReturnType<M[K]>>> {
    const id = this.#calls++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject })
      this.#child.send({ id, method, argument } satisfies Call)
    })
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}
