// Writes the log's lines to a file descriptor, without waiting for its reader. If the reader is gone, or too slow for too
// many lines, lines are dropped; their number is logged once there is room again.
// pino's own destination would retry the last ones for ever when the process ends (flushSync of sonic-boom 4 and 5 retries
// every error but EAGAIN).

import { write, writeSync } from 'node:fs'

/** How long to wait when the reader accepts nothing, ms. */
const FULL_RETRY_MS = 50

/** The maximum characters that wait for the reader. */
const MAX_WAITING = 8 * 2 ** 20
/** How long the end of the process waits for a reader that accepts nothing, ms. */
const LAST_WAIT_MS = 2000

/** pino's number of the level. */
const WARN = 40

const isFull = ({ code }: NodeJS.ErrnoException) => code === 'EAGAIN' || code === 'EBUSY'

export class LogOutput {
  readonly #fd: number
  /** Lines that are not written yet. */
  #waiting: (string | Buffer)[] = []
  /** The length of the lines among them. */
  #length = 0
  #dropped = 0
  /** Whether a write is in progress, or the system accepts none at the moment. */
  #busy = false
  #gone = false

  constructor(fd: number) {
    this.#fd = fd
    process.on('exit', () => this.flushSync())
  }

  write(line: string): void {
    if (this.#gone) return
    if (this.#length + line.length > MAX_WAITING) {
      this.#dropped++
      return
    }
    this.#length += line.length
    this.#waiting.push(line)
    if (!this.#busy) this.#next()
  }

  /** Writes everything pending, at once, unless the reader has stalled. pino calls it after a fatal line. */
  flushSync(): void {
    let rest = this.#take()
    let acceptedAt = performance.now()
    while (rest.length > 0 && !this.#gone) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest))
        acceptedAt = performance.now()
      } catch (error) {
        if (isFull(error as NodeJS.ErrnoException) && performance.now() - acceptedAt < LAST_WAIT_MS)
          waitFor(FULL_RETRY_MS)
        else this.#gone = true
      }
    }
  }

  #take(): Buffer {
    if (this.#dropped > 0) {
      const msg = `${this.#dropped} lines of the log were dropped, because its reader is too slow`
      this.#waiting.push(`${JSON.stringify({ level: WARN, time: Date.now(), msg })}\n`)
      this.#dropped = 0
    }
    const taken = this.#waiting.map(each => (typeof each === 'string' ? Buffer.from(each) : each))
    this.#waiting = []
    this.#length = 0
    return Buffer.concat(taken)
  }

  #next(): void {
    const bytes = this.#take()
    this.#busy = bytes.length > 0
    if (!this.#busy) return
    write(this.#fd, bytes, (error, written) => {
      if (error !== null && !isFull(error)) {
        this.#gone = true
        return
      }
      const rest = bytes.subarray(error === null ? written : 0)
      if (rest.length > 0) {
        this.#waiting.unshift(rest)
        this.#length += rest.length
      }
      if (error === null) this.#next()
      else setTimeout(() => this.#next(), FULL_RETRY_MS)
    })
  }
}

function waitFor(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
