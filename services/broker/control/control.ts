// Commands to all nodes. They go through the log, so they work on every engine, in order, and reach a node that was
// away or starts later.

import { hash } from 'node:crypto'
import type { ChannelLog } from '../log/log.ts'
import { CONTROL } from './channels.ts'
import { draftOf, type Entry, type Logger, Tail } from './tail.ts'

/** What can be told, by name. Carrying a command out twice must do no harm: a teller that got no answer repeats it. */
export interface Commands {
  /** Refuse the user's tokens that were issued before `before`, until none of them could live; ms since 1970. */
  readonly revoke: { readonly user: string; readonly before: number; readonly until?: number }
  /** End the user's connections, or the one of that client id. */
  readonly disconnect: { readonly user: string; readonly client?: string }
  /** Take the channel from the user's connections. */
  readonly unsubscribe: { readonly user: string; readonly channel: string }
  /** The channel's history was erased, or the data of the one event with this id. */
  readonly erase: { readonly channel: string; readonly id?: string }
}

/** `past`: told before this node listened. `time`: when, by the log's clock, ms since 1970. */
export type Told = Pick<Entry, 'time' | 'past'>

export interface ControlOptions {
  readonly log: ChannelLog
  readonly logger: Logger
  /** Commands may have been missed: the log lost them, or trimmed them before they could be read. */
  readonly missed?: () => void
}

type Handler<Data> = (data: Data, told: Told) => void

/** Ms that a node's start waits for what is kept. */
const START_MS = 5000

export class Control {
  readonly #log: ChannelLog
  readonly #logger: Logger
  readonly #tail: Tail
  readonly #handlers = new Map<string, Handler<unknown>[]>()

  constructor({ log, logger, missed }: ControlOptions) {
    this.#log = log
    this.#logger = logger
    this.#tail = new Tail({
      log,
      channel: CONTROL,
      from: 'earliest',
      logger,
      entry: entry => this.#carryOut(entry),
      ...(missed && { missed }),
    })
  }

  /** Before `open`, lest it miss what is kept. */
  on<Type extends keyof Commands>(type: Type, handler: Handler<Commands[Type]>): this {
    const handlers = this.#handlers.get(type) ?? []
    handlers.push(handler as Handler<unknown>)
    this.#handlers.set(type, handlers)
    return this
  }

  /**
   * Follows what is told. Returns whether all that is kept was carried out within that many ms; if not, goes on trying.
   * Does not raise.
   */
  open(within = START_MS): Promise<boolean> {
    return this.#tail.open(within)
  }

  /**
   * Returns once the log holds the command: every node, this one too, then carries it out. `once`: when several nodes
   * tell the same within the idempotency window, as after a loss, the log takes it once. Raises LogUnavailable.
   */
  async tell<Type extends keyof Commands>(
    type: Type,
    data: Commands[Type],
    { once = false } = {},
  ): Promise<void> {
    const draft = draftOf(type, data)
    const idempotencyKey = `${type}:${hash('sha256', draft.data, 'base64url')}`
    await this.#log.append(CONTROL, [once ? { ...draft, idempotencyKey } : draft])
  }

  close(): void {
    this.#tail.close()
  }

  #carryOut({ type, data, time, past }: Entry): void {
    // A command that this version does not know has none.
    for (const handler of this.#handlers.get(type) ?? []) {
      try {
        handler(data, { time, past })
      } catch (err) {
        this.#logger.warn({ err, command: type }, 'a command could not be carried out')
      }
    }
  }
}
