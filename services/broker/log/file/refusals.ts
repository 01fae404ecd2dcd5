// Logs that the disk refuses writes, and that it accepts writes as large again.

import type { Logger } from '../../logger.ts'
import type { LogUnavailable } from '../log.ts'

/** Refused writes are logged at most this often, ms. */
const LOG_EVERY_MS = 60_000

export class Refusals {
  readonly #logger: Logger
  readonly #folder: string
  /** Refused writes since the last warning. */
  #refused = 0
  #warnedAt = Number.NEGATIVE_INFINITY
  /** Bytes of the smallest write that was refused since a warning; undefined once such a write succeeded. */
  #smallest: number | undefined

  constructor(logger: Logger, folder: string) {
    this.#logger = logger
    this.#folder = folder
  }

  /** The disk refused a write of that many bytes. */
  refused(bytes: number, { message, reason }: LogUnavailable): void {
    this.#refused++
    if (this.#smallest !== undefined) this.#smallest = Math.min(this.#smallest, bytes)
    const now = performance.now()
    if (now - this.#warnedAt < LOG_EVERY_MS) return
    const about = { folder: this.#folder, reason, refused: this.#refused, bytes }
    this.#logger.warn(about, `${message}: publishes are refused (logged once a minute)`)
    this.#warnedAt = now
    this.#refused = 0
    this.#smallest ??= bytes
  }

  /** The disk accepted a write of that many bytes. */
  written(bytes: number): void {
    if (this.#smallest === undefined || bytes < this.#smallest) return
    this.#smallest = undefined
    this.#logger.info({ folder: this.#folder }, 'the disk accepts publishes again')
  }
}
