// The mark: a separate file that says how far the log has acknowledged, overwritten with every commit. It survives the
// process, and distinguishes three cases that look alike in the segments: a killed process (nothing acknowledged is
// missing), a power failure or a cut file (events may be missing), and a copy (the original may have continued).

import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

const NAME = 'mark'
const LENGTH = 96
/** Bytes of the seed, and its place in the body. */
const SEED_BYTES = 16
const SEED_AT = 72

/** Where the acknowledged records end. */
export interface Acknowledged {
  readonly segment: number
  readonly length: number
  /** Whether the log was closed. */
  readonly clean: boolean
  /** Whether this is the original file, and the machine has not restarted since, or the log was closed before. */
  readonly continuous: boolean
  /** Empty in a mark of a version without seeds. */
  readonly seed: string
}

/** Identifies this boot of the machine. Constant if the system does not report one. */
function bootOf(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().padEnd(36).slice(0, 36)
  } catch {
    return ' '.repeat(36)
  }
}

/** Identifies a file on its file system. A copy has another identity. */
function identityOf(path: string): [bigint, bigint] {
  const { ino, birthtimeNs } = statSync(path, { bigint: true })
  return [BigInt.asUintN(64, ino), BigInt.asUintN(64, birthtimeNs)]
}

/** The content of a folder's mark; undefined if it has no complete one. */
export function readMark(folder: string, pathOf: (segment: number) => string): Acknowledged | undefined {
  const bytes = readIfThere(join(folder, NAME))
  if (bytes?.length !== LENGTH) return undefined
  const body = bytes.subarray(4)
  if (crc32(body) !== bytes.readUInt32LE(0)) return undefined
  const segment = body.readDoubleLE(4)
  const clean = body.readUInt8(0) === 1
  const sameBoot = clean || body.toString('latin1', 36, 72) === bootOf()
  return {
    segment,
    length: body.readDoubleLE(12),
    clean,
    continuous: sameBoot && isSame(pathOf(segment), body),
    seed: body.toString('latin1', SEED_AT, SEED_AT + SEED_BYTES).replace(/\0+$/, ''),
  }
}

export function makeSeed(): string {
  return randomBytes(SEED_BYTES / 2).toString('hex')
}

function isSame(path: string, body: Buffer): boolean {
  try {
    const [ino, birth] = identityOf(path)
    return ino === body.readBigUInt64LE(20) && birth === body.readBigUInt64LE(28)
  } catch {
    return false
  }
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export class Mark {
  #seed: string
  readonly #fd: number
  readonly #bytes = Buffer.alloc(LENGTH)
  readonly #body = this.#bytes.subarray(4)

  constructor(folder: string, seed: string) {
    this.#seed = seed
    this.#fd = openSync(join(folder, NAME), constants.O_RDWR | constants.O_CREAT, 0o600)
    // Reserves the space, so that overwriting needs no more.
    if (readSync(this.#fd, this.#bytes, 0, LENGTH, 0) < LENGTH) this.#write()
  }

  /** Notes that later records are written to this segment. */
  begin(segment: number, path: string): void {
    const [ino, birth] = identityOf(path)
    this.#body.fill(0)
    this.#body.write(bootOf(), 36, 'latin1')
    this.#body.write(this.#seed, SEED_AT, 'latin1')
    this.#body.writeDoubleLE(segment, 4)
    this.#body.writeBigUInt64LE(ino, 20)
    this.#body.writeBigUInt64LE(birth, 28)
  }

  /**
   * The seed for the epochs of channels without a record in the log. It is the same after a restart, so that a reader of
   * such a channel receives no gap.
   */
  get seed(): string {
    return this.#seed
  }

  /** Changes the seed before the log forgets channels, since none of their epochs may be used again. */
  reseed(): void {
    this.#seed = makeSeed()
    this.#body.write(this.#seed, SEED_AT, 'latin1')
    this.#write()
  }

  /** Notes that the segment's records up to this length are acknowledged. */
  move(length: number): void {
    this.#body.writeUInt8(0, 0)
    this.#body.writeDoubleLE(length, 12)
    this.#write()
  }

  /** Called when nothing more will be written and everything is on disk. */
  close(clean: boolean): void {
    if (clean) {
      this.#body.writeUInt8(1, 0)
      this.#write()
      fsyncSync(this.#fd)
    }
    closeSync(this.#fd)
  }

  #write(): void {
    this.#bytes.writeUInt32LE(crc32(this.#body), 0)
    writeSync(this.#fd, this.#bytes, 0, LENGTH, 0)
  }
}
