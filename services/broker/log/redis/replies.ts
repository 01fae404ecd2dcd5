// Redis's error replies, and which of them are temporary.

import type { Failure } from '../log.ts'
import { LogRefused, LogUnavailable } from '../log.ts'
import type { Logger } from '../../logger.ts'

/** Permanent errors, which persist until somebody changes the data, the rights or the URL. */
const FOR_GOOD = new Set(['WRONGTYPE', 'NOPERM', 'NOAUTH', 'WRONGPASS', 'CROSSSLOT', 'ERR'])

/** Redirections. They are permanent errors unless this node uses Redis as a cluster. */
const OF_CLUSTERS = new Set(['MOVED', 'ASK'])

/** Redis can be read and delivers, but refuses writes: it is full, can't save, or has too few replicas. */
const WRITES_NOTHING = new Set(['OOM', 'MISCONF', 'NOREPLICAS'])

/** The minimum time between two logs of one kind of failure, ms. */
const LOG_EVERY_MS = 60_000

/** Redis replied with an error: the command was not executed, or its script raised the error. */
export class ErrorReply extends LogUnavailable {
  /** The reply, which begins with the error's code, e.g. `MOVED`. */
  readonly reply: string

  constructor(message: string, reply: string) {
    super(message, codeOf(reply))
    this.reply = reply
  }
}

/** The error for a script's reply that reports one. */
export function answered(reply: string): ErrorReply {
  return new ErrorReply(`Redis answered: ${reply}`, reply)
}

/** Whether Redis only refuses to write. */
export function isWriteRefusal(error: unknown): error is ErrorReply {
  return error instanceof ErrorReply && WRITES_NOTHING.has(error.reason)
}

/** The code with which a Redis error begins, in capitals; a label for metrics. */
function codeOf(reply: string): string {
  return /^([A-Z]{2,20})\b/.exec(reply)?.[1] ?? 'ERR'
}

/** Counts failed calls, and logs Redis's error replies: each kind once a minute. */
export class Failures implements Iterable<Failure> {
  readonly #logger: Logger
  readonly #sharded: boolean
  readonly #kinds = new Map<string, Failure & { loggedAt: number; loggedCount: number }>()

  constructor(logger: Logger, sharded: boolean) {
    this.#logger = logger
    this.#sharded = sharded
  }

  [Symbol.iterator](): Iterator<Failure> {
    return this.#kinds.values()
  }

  /** Notes why a call failed, and returns the error to raise: LogRefused for a permanent one. */
  note(operation: Failure['operation'], channel: string, error: unknown): unknown {
    if (!(error instanceof LogUnavailable || error instanceof LogRefused)) return error
    const { reason, message } = error
    const name = `${operation} ${reason}`
    const known = this.#kinds.get(name) ?? { operation, reason, count: 0, loggedAt: 0, loggedCount: 0 }
    const kind = { ...known, count: known.count + 1 }
    this.#kinds.set(name, kind)
    const answered = error instanceof ErrorReply || error instanceof LogRefused
    if (answered && (known.count === 0 || performance.now() - kind.loggedAt >= LOG_EVERY_MS)) {
      const failed = kind.count - kind.loggedCount
      this.#logger.warn({ operation, reason, channel, failed }, `${message} (logged once a minute)`)
      kind.loggedAt = performance.now()
      kind.loggedCount = kind.count
    }
    return this.asRefusal(error)
  }

  /** Replaces a permanent error by LogRefused. */
  asRefusal(error: unknown): unknown {
    return error instanceof ErrorReply && this.#isForGood(error)
      ? new LogRefused(error.message, error.reason)
      : error
  }

  #isForGood({ reason, reply }: ErrorReply): boolean {
    if (reply.includes('max number of clients')) return false
    return FOR_GOOD.has(reason) || (!this.#sharded && OF_CLUSTERS.has(reason))
  }
}
