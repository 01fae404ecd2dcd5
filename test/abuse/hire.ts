// Starts and stops the attacker's process.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Done } from './attack.ts'
import type { Command, Order, Message } from './attacker.ts'
import { TYPESCRIPT } from '../support/typescript.ts'

const MAIN = fileURLToPath(new URL('./attacker.ts', import.meta.url))

export class Attacker {
  readonly #child: ChildProcess
  readonly #message: Promise<Message>
  readonly #gone: Promise<unknown>

  private constructor(child: ChildProcess, gone: Promise<unknown>) {
    this.#child = child
    this.#gone = gone
    this.#message = next(child, gone)
  }

  /** Starts the process. Returns once it is prepared. */
  static async hire(order: Order): Promise<Attacker> {
    const child = fork(MAIN, {
      execArgv: TYPESCRIPT,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const gone = once(child, 'exit')
    send(child, { prepare: order })
    const message = await next(child, gone)
    if (typeof message === 'object' && 'failed' in message) throw new Error(message.failed)
    return new Attacker(child, gone)
  }

  begin(): void {
    send(this.#child, 'begin')
  }

  /** Stops the attack. Returns its summary once its process has ended, and so all its sockets are closed. */
  async stop(): Promise<Done> {
    send(this.#child, 'stop')
    const message = await this.#message
    await this.#gone
    if (typeof message === 'object' && 'done' in message) return message.done
    throw new Error(typeof message === 'object' ? message.failed : 'the attacker sent no summary')
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#gone
  }
}

function send(child: ChildProcess, command: Command): void {
  if (child.connected) child.send(command, () => {})
}

/** The next message of the process. */
function next(child: ChildProcess, gone: Promise<unknown>): Promise<Message> {
  return new Promise(resolve => {
    child.once('message', (message: Message) => resolve(message))
    void gone.then(() => resolve({ failed: 'the attacker ended' }))
  })
}
