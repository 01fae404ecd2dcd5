// The attacker's process as the suite sees it.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Done } from './attack.ts'
import type { Command, Order, Told } from './attacker.ts'
import { TYPESCRIPT } from '../support/typescript.ts'

const MAIN = fileURLToPath(new URL('./attacker.ts', import.meta.url))

export class Attacker {
  readonly #child: ChildProcess
  readonly #told: Promise<Told>
  readonly #gone: Promise<unknown>

  private constructor(child: ChildProcess, gone: Promise<unknown>) {
    this.#child = child
    this.#gone = gone
    this.#told = next(child, gone)
  }

  /** Starts it, and returns once it is prepared. */
  static async hire(order: Order): Promise<Attacker> {
    const child = fork(MAIN, {
      execArgv: TYPESCRIPT,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const gone = once(child, 'exit')
    tell(child, { prepare: order })
    const told = await next(child, gone)
    if (typeof told === 'object' && 'failed' in told) throw new Error(told.failed)
    return new Attacker(child, gone)
  }

  begin(): void {
    tell(this.#child, 'begin')
  }

  /** Stops it. Returns its summary once its process, and so all its sockets, are gone. */
  async stop(): Promise<Done> {
    tell(this.#child, 'stop')
    const told = await this.#told
    await this.#gone
    if (typeof told === 'object' && 'done' in told) return told.done
    throw new Error(typeof told === 'object' ? told.failed : 'the attacker sent no summary')
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#gone
  }
}

function tell(child: ChildProcess, command: Command): void {
  if (child.connected) child.send(command, () => {})
}

/** Its next message. */
function next(child: ChildProcess, gone: Promise<unknown>): Promise<Told> {
  return new Promise(resolve => {
    child.once('message', (told: Told) => resolve(told))
    void gone.then(() => resolve({ failed: 'the attacker ended' }))
  })
}
