// One process at a time owns the folder: each listens on its own socket in it, and gives up if another one answers. The
// system closes the socket of a process that ends, however it ends.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { LogRefused } from '../log.ts'

const NAME = /^lock-[0-9a-f]{12}$/
/** Two processes that start at the same time both give up, and retry after random delays. */
const TRIES = 4
/** The longest of these delays, ms. */
const PAUSE = 150

export interface Lock {
  release(): Promise<void>
}

/** Whether it is the socket of a process that owns the folder, or did. */
export function isLock(folder: string, name: string): boolean {
  if (!NAME.test(name)) return false
  return lstatSync(join(folder, name), { throwIfNoEntry: false })?.isSocket() ?? false
}

/** Creates the folder if necessary. Raises LogRefused if that fails or another process owns it. */
export async function lockFolder(folder: string): Promise<Lock> {
  makeFolder(folder)
  for (let left = TRIES; ; left--) {
    const own = `lock-${randomBytes(6).toString('hex')}`
    const server = await listenIn(folder, own)
    const others = readdirSync(folder).filter(name => isLock(folder, name) && name !== own)
    const answers = await Promise.all(others.map(name => answersIn(folder, name)))
    const release = async () => {
      await close(server)
      rmSync(join(folder, own), { force: true })
    }
    if (!answers.includes(true)) return { release }
    await release()
    if (left === 1)
      throw new LogRefused(`another process has ${folder} (FANWIRE_DATA): stop it first`, 'locked')
    await wait(PAUSE * Math.random())
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new LogRefused(`${folder} (FANWIRE_DATA) cannot be created: ${code}`, 'folder')
  }
}

async function listenIn(folder: string, name: string): Promise<Server> {
  const server = createServer(socket => socket.destroy())
  server.unref()
  const { path, done } = shortPath(folder, name)
  try {
    server.listen(path)
    await once(server, 'listening')
    return server
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new LogRefused(`${folder} (FANWIRE_DATA) cannot be locked with a socket in it: ${code}`, 'locked')
  } finally {
    done()
  }
}

/** Whether a process listens there; removes the socket of a process that has ended. */
async function answersIn(folder: string, name: string): Promise<boolean> {
  const { path, done } = shortPath(folder, name)
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return false
    if (code !== 'ECONNREFUSED' && code !== 'ENOTSOCK') return true
    rmSync(join(folder, name), { force: true })
    return false
  } finally {
    socket.destroy()
    done()
  }
}

/** A socket's path has at most 107 bytes. On Linux, a descriptor of its folder shortens it. */
function shortPath(folder: string, name: string): { path: string; done(): void } {
  const path = join(folder, name)
  if (Buffer.byteLength(path) < 100 || process.platform !== 'linux') return { path, done() {} }
  const fd = openSync(folder, 'r')
  return { path: `/proc/self/fd/${fd}/${name}`, done: () => closeSync(fd) }
}

async function close(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}
