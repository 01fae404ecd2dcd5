// Logs when the disk refuses writes, and when it accepts writes of that size again.

import type { Logger } from '../../logger.ts'
import type { LogUnavailable } from '../log.ts'

/** The minimum time between two logs of refused writes, ms. */
const LOG_EVERY_MS = 60_000

export class Refusals {
  readonly #logger: Logger
  readonly #folder: string
  /** The number of refused writes since the last warning. */
  #refused = 0
  #warnedAt = Number.NEGATIVE_INFINITY
  /** The bytes of the smallest write that was refused since a warning; undefined once such a write succeeded. */
  #smallest: number | undefined

  constructor(logger: Logger, folder: string) {
    this.#logger = logger
    this.#folder = folder
  }

  /** Called when the disk refused a write of that many bytes. */
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

  /** Called when the disk accepted a write of that many bytes. */
  written(bytes: number): void {
    if (this.#smallest === undefined || bytes < this.#smallest) return
    this.#smallest = undefined
    this.#logger.info({ folder: this.#folder }, 'the disk accepts publishes again')
  }
}
