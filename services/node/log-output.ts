// Writes the log's lines to a file descriptor, without waiting for its reader. If the reader is gone, lines are dropped.
// pino's own destination would retry the last ones for ever when the process ends (flushSync of sonic-boom 4 and 5 retries
// every error but EAGAIN).

import { write, writeSync } from 'node:fs'

/** How long to wait when the reader accepts nothing, ms. */
const FULL_RETRY_MS = 50

const isFull = ({ code }: NodeJS.ErrnoException) => code === 'EAGAIN' || code === 'EBUSY'

export class LogOutput {
  readonly #fd: number
  /** Lines that are not written yet. */
  #waiting: (string | Buffer)[] = []
  /** Whether a write is in progress, or the system accepts none at the moment. */
  #busy = false
  #gone = false

  constructor(fd: number) {
    this.#fd = fd
    process.on('exit', () => this.flushSync())
  }

  write(line: string): void {
    if (this.#gone) return
    this.#waiting.push(line)
    if (!this.#busy) this.#next()
  }

  /** Writes everything pending, at once. pino calls it after a fatal line. */
  flushSync(): void {
    let rest = this.#take()
    while (rest.length > 0 && !this.#gone) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest))
      } catch (error) {
        if (isFull(error as NodeJS.ErrnoException)) waitFor(FULL_RETRY_MS)
        else this.#gone = true
      }
    }
  }

  #take(): Buffer {
    const taken = this.#waiting.map(each => (typeof each === 'string' ? Buffer.from(each) : each))
    this.#waiting = []
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
      if (rest.length > 0) this.#waiting.unshift(rest)
      if (error === null) this.#next()
      else setTimeout(() => this.#next(), FULL_RETRY_MS)
    })
  }
}

function waitFor(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
