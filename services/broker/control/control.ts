// Commands to all nodes. They go through the log, so they work on every engine, arrive in order, and reach nodes that
// were down or start later.

import type { ChannelLog } from '../log/log.ts'
import { CONTROL } from './channels.ts'
import type { Commands } from './commands.ts'
import { commandDraft, resend } from './resend.ts'
import type { Logger } from '../logger.ts'
import { type Entry, pause, Tail } from './tail.ts'

/** `past`: it was sent before this node listened. `time`: when it was sent, by the log's clock, ms since 1970. */
export type Delivery = Pick<Entry, 'time' | 'past'>

export interface ControlOptions {
  readonly log: ChannelLog
  readonly logger: Logger
  /** Called if commands may have been missed: the log lost them, or trimmed them before they could be read. */
  readonly missed?: () => void
  /** The revocations in force on this node. The node resends those that the log has lost. */
  readonly revocations?: () => Iterable<Commands['revoke']>
}

type Handler<Data> = (data: Data, delivery: Delivery) => void

/** How long a node's start waits for the stored commands, ms. */
const START_MS = 5000

export class Control {
  readonly #options: ControlOptions
  readonly #tail: Tail
  readonly #handlers = new Map<string, Handler<unknown>[]>()
  readonly #closing = new AbortController()
  readonly #resending = { wanted: false, underWay: false }

  constructor(options: ControlOptions) {
    this.#options = options
    const { log, logger } = options
    this.#tail = new Tail({
      log,
      channel: CONTROL,
      from: 'earliest',
      logger,
      entry: entry => this.#carryOut(entry),
      missed: () => this.#missed(),
    })
  }

  /** Adds a handler. Call it before `open`, so that the handler receives the stored commands too. */
  on<Type extends keyof Commands>(type: Type, handler: Handler<Commands[Type]>): this {
    const handlers = this.#handlers.get(type) ?? []
    handlers.push(handler as Handler<unknown>)
    this.#handlers.set(type, handlers)
    return this
  }

  /**
   * Starts following commands. Returns whether all stored commands were executed within that many ms; if not, keeps
   * trying. Does not raise.
   */
  open(within = START_MS): Promise<boolean> {
    return this.#tail.open(within)
  }

  /** Sends a command to all nodes, including this one. Returns once the log holds it. Raises LogUnavailable. */
  async send<Type extends keyof Commands>(type: Type, data: Commands[Type]): Promise<void> {
    await this.#options.log.append(CONTROL, [commandDraft(type, data)])
  }

  close(): void {
    this.#closing.abort()
    this.#tail.close()
  }

  #carryOut({ type, data, time, past }: Entry): void {
    // Commands that this version does not know have no handlers.
    for (const handler of this.#handlers.get(type) ?? []) {
      try {
        handler(data, { time, past })
      } catch (err) {
        this.#options.logger.warn({ err, command: type }, 'a command could not be carried out')
      }
    }
  }

  #missed(): void {
    this.#resending.wanted = true
    if (!this.#resending.underWay) this.#resend()
    this.#options.missed?.()
  }

  async #resend(): Promise<void> {
    const { log, logger, revocations } = this.#options
    if (revocations === undefined) return
    const state = this.#resending
    state.underWay = true
    for (let failures = 0; state.wanted && !this.#closing.signal.aborted;) {
      state.wanted = false
      try {
        await resend(log, revocations())
        failures = 0
      } catch (error) {
        state.wanted = true
        logger.warn({ reason: String(error) }, 'revocations could not be resent; the node will retry')
        await pause(++failures, this.#closing.signal)
      }
    }
    state.underWay = false
  }
}
