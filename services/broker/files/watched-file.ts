// A file that the operator may change while the node runs. It is read again after changes. If it is faulty, the previous
// content stays in force.

import { EventEmitter } from 'node:events'
import { type FSWatcher, watch } from 'node:fs'
import { readFile, realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { BadFileError } from './bad-file.ts'

export interface WatchedFileEvents<T> {
  /** The file was read and differs from before. */
  changed: [value: T]
  /**
   * The file can't be used, and the previous content stays in force. Emitted once for the same text and reason.
   */
  refused: [error: BadFileError]
}

export interface WatchedFile<T> extends EventEmitter<WatchedFileEvents<T>> {
  /** The content that was last read without a problem. */
  readonly current: T
  /** Why the file's current content is not in force; undefined if it is. */
  readonly problem: BadFileError | undefined
  /** Reads the file at once, as on SIGHUP. Settles when it has been read, whether it is valid or not. */
  reload(): Promise<void>
  close(): void
}

export interface WatchedFileOptions<T> {
  readonly path: string
  /** Raises `BadFileError`. */
  readonly parse: (text: string) => T
  /** Parses after changes, without blocking the node. Default: `parse`. */
  readonly parseAside?: (text: string) => Promise<T>
  readonly mostBytes?: number
  /** How long to wait for further changes after a change, ms: editors write in steps. */
  readonly settle?: number
  /** How often the file is read anyway, ms, since not every file system reports changes. */
  readonly interval?: number
}

const MOST_BYTES = 4 * 2 ** 20

/** Raises `BadFileError` if the file can't be used at the start. */
export async function watchFile<T>({
  path,
  parse,
  parseAside = async text => parse(text),
  mostBytes = MOST_BYTES,
  settle = 100,
  interval = 10_000,
}: WatchedFileOptions<T>): Promise<WatchedFile<T>> {
  const text = await readText(path, mostBytes)
  const file = new File({ path, parseAside, mostBytes, settle, interval }, text, parse(text))
  await file.follow()
  return file
}

type FollowOptions<T> = Required<Omit<WatchedFileOptions<T>, 'parse'>>

interface Watched {
  readonly watcher: FSWatcher
  /** Detects that another folder has replaced the watched one at its path. */
  readonly inode: number
}

class File<T> extends EventEmitter<WatchedFileEvents<T>> implements WatchedFile<T> {
  current: T
  problem: BadFileError | undefined
  private readonly options: FollowOptions<T>
  private readonly timer: NodeJS.Timeout
  /** The text that was read last, whether it was valid or not. */
  private text: string | undefined
  private readonly watchers = new Map<string, Watched>()
  private settling: NodeJS.Timeout | undefined
  private reading: Promise<void> | undefined
  private again = false
  private closed = false

  constructor(options: FollowOptions<T>, text: string, value: T) {
    super()
    this.options = options
    this.text = text
    this.current = value
    this.timer = setInterval(() => void this.reload(), options.interval).unref()
  }

  reload(): Promise<void> {
    clearTimeout(this.settling)
    this.settling = undefined
    if (this.closed) return Promise.resolve()
    // The read in progress may have begun before the change.
    this.again = this.reading !== undefined
    this.reading ??= this.readAll().finally(() => {
      this.reading = undefined
    })
    return this.reading
  }

  close(): void {
    this.closed = true
    clearInterval(this.timer)
    clearTimeout(this.settling)
    for (const folder of [...this.watchers.keys()]) this.unwatch(folder)
  }

  /**
   * Watches the folder that contains the file, and the one that contains the target of a link, but not the file itself,
   * since editors and Kubernetes replace it.
   */
  async follow(): Promise<void> {
    const { path } = this.options
    const target = await realpath(path).catch(() => path)
    const folders = [...new Set([dirname(path), dirname(target)])]
    const inodes = await Promise.all(folders.map(folder => inodeOf(folder)))
    if (this.closed) return
    for (const [folder, { inode }] of this.watchers) {
      if (inodes[folders.indexOf(folder)] !== inode) this.unwatch(folder)
    }
    for (const [index, folder] of folders.entries()) {
      const inode = inodes[index]
      if (inode !== undefined && !this.watchers.has(folder)) this.watch(folder, inode)
    }
  }

  private watch(folder: string, inode: number): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.heard())
      // The folder is gone, or the system has no watchers left: polling continues.
      watcher.on('error', () => this.unwatch(folder))
      this.watchers.set(folder, { watcher, inode })
    } catch {
      // As above.
    }
  }

  private unwatch(folder: string): void {
    this.watchers.get(folder)?.watcher.close()
    this.watchers.delete(folder)
  }

  private heard(): void {
    if (this.closed) return
    this.settling ??= setTimeout(() => void this.reload(), this.options.settle).unref()
  }

  private async readAll(): Promise<void> {
    do {
      this.again = false
      await this.read()
    } while (this.again && !this.closed)
  }

  private async read(): Promise<void> {
    await this.follow()
    const read = await readText(this.options.path, this.options.mostBytes).catch(badFile)
    if (this.closed) return
    if (read instanceof BadFileError) {
      this.text = undefined
      this.refuse(read)
    } else if (read !== this.text) {
      this.text = read
      await this.take(read)
    }
  }

  private async take(text: string): Promise<void> {
    const value = await this.options.parseAside(text).catch(badFile)
    if (this.closed) return
    if (value instanceof BadFileError) return this.refuse(value)
    this.problem = undefined
    this.current = value
    this.emit('changed', value)
  }

  private refuse(error: BadFileError): void {
    const known = this.problem?.message === error.message
    this.problem = error
    if (!known) this.emit('refused', error)
  }
}

/** A bug in the parser also counts as a fault of the file: the previous content stays in force. */
function badFile(error: unknown): BadFileError {
  if (error instanceof BadFileError) return error
  return new BadFileError(`it can't be understood: ${error instanceof Error ? error.message : 'unknown'}`)
}

function inodeOf(folder: string): Promise<number | undefined> {
  return stat(folder).then(
    ({ ino }) => ino,
    () => undefined,
  )
}

/** Raises a `BadFileError` that says why the file can't be read. */
export async function readText(path: string, mostBytes = MOST_BYTES): Promise<string> {
  try {
    // Checked before it is opened: opening a pipe would wait for its writer.
    const found = await stat(path)
    if (!found.isFile()) throw new BadFileError('it is not a file')
    if (found.size > mostBytes) throw new BadFileError(`it is larger than ${mostBytes} bytes`)
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path))
  } catch (error) {
    throw error instanceof BadFileError ? error : new BadFileError(`it can't be read: ${readFault(error)}`)
  }
}

function readFault(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES') return 'permission denied'
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'it is not UTF-8'
  return code ?? 'unknown'
}
