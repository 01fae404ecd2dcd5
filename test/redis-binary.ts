// Where the tests' redis-server comes from: the PATH, or the distribution's package, unpacked without root.

import { execFile } from 'node:child_process'
import { access, chmod, constants, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const PROJECT = fileURLToPath(new URL('../', import.meta.url))

export interface RedisBinary {
  readonly path: string
  readonly env: NodeJS.ProcessEnv
}

let found: Promise<RedisBinary> | undefined

/** A redis-server or valkey-server that runs here. Throws with what to do where there is none. */
export function redisBinary(): Promise<RedisBinary> {
  found ??= find()
  return found
}

async function find(): Promise<RedisBinary> {
  for (const name of ['redis-server', 'valkey-server']) {
    for (const dir of (process.env.PATH ?? '').split(delimiter)) {
      if (dir === '') continue
      const path = join(dir, name)
      if (await works({ path, env: process.env })) return { path, env: process.env }
    }
  }
  const kept = join(PROJECT, '.cache', 'redis')
  return (await unpacked(kept)) ?? (await unpack(kept))
}

async function works(binary: RedisBinary): Promise<boolean> {
  try {
    await access(binary.path, constants.X_OK)
    await run(binary.path, ['--version'], { env: binary.env })
    return true
  } catch {
    return false
  }
}

/** What was unpacked into `dir` before, if it runs. */
async function unpacked(dir: string): Promise<RedisBinary | undefined> {
  const root = join(dir, 'root')
  const env = { ...process.env, LD_LIBRARY_PATH: (await libraries(root)).join(delimiter) }
  const binary = { path: join(root, 'usr', 'bin', 'redis-server'), env }
  return (await works(binary)) ? binary : undefined
}

async function libraries(root: string): Promise<string[]> {
  const dirs: string[] = []
  for (const lib of [join(root, 'usr', 'lib'), join(root, 'lib')]) {
    const names = await readdir(lib).catch(() => [])
    for (const name of names) if (name.includes('linux-')) dirs.push(join(lib, name))
  }
  return dirs
}

async function unpack(kept: string): Promise<RedisBinary> {
  console.error(`no redis-server on the PATH: unpacking the distribution's package into ${kept}`)
  await mkdir(join(kept, '..'), { recursive: true })
  // Beside its place, then moved there in one step: test files run at the same time.
  const dir = await mkdtemp(`${kept}.`)
  try {
    await download(dir)
    if ((await unpacked(dir)) === undefined) throw new Error('what was unpacked does not run')
    await chmod(dir, 0o755)
    await rename(dir, kept).catch(async error => {
      if ((await unpacked(kept)) !== undefined) return
      // What lies there does not run: it makes room.
      await rm(kept, { recursive: true, force: true })
      await chmod(dir, 0o755)
      await rename(dir, kept).catch(() => {
        throw error
      })
    })
  } catch (error) {
    const why = error instanceof Error ? error.message.trim() : String(error)
    throw new Error(
      'The Redis tests need a redis-server 7.0 or later. Install redis-server or valkey-server, ' +
        `or set REDIS_URL. Unpacking the distribution's package failed: ${why}`,
    )
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
  const binary = await unpacked(kept)
  if (binary === undefined) throw new Error(`the redis-server in ${kept} does not run`)
  return binary
}

/** Downloads and unpacks with apt, its lists and cache in `dir`, so that none of it needs root. */
async function download(dir: string): Promise<void> {
  const debs = join(dir, 'debs')
  const root = join(dir, 'root')
  await mkdir(join(dir, 'lists', 'partial'), { recursive: true })
  await mkdir(join(dir, 'cache', 'archives', 'partial'), { recursive: true })
  await mkdir(debs)
  await mkdir(root)
  const options = [
    'Debug::NoLocking=1',
    // Without it the candidate is the version that is installed, which may have no source any more.
    'Dir::State::status=/dev/null',
    `Dir::State::Lists=${join(dir, 'lists')}`,
    `Dir::Cache=${join(dir, 'cache')}`,
    // As root apt would download as the user _apt, who can't write here.
    ...(process.getuid?.() === 0 ? ['APT::Sandbox::User=root'] : []),
  ].flatMap(option => ['-o', option])
  await run('apt-get', [...options, 'update'])
  const depends = await run('apt-cache', [...options, 'depends', '--important', 'redis-tools'])
  const needed = [...depends.stdout.matchAll(/Depends: ([a-z0-9.+-]+)/g)].map(match => match[1] ?? '')
  // The C library belongs to the system; the rest comes along.
  const packages = needed.filter(name => !/^(libc6|libgcc|libstdc|adduser)/.test(name))
  // In Debian the program is in redis-tools; redis-server holds only a link to it.
  await run('apt-get', [...options, 'download', 'redis-tools', 'redis-server', ...packages], { cwd: debs })
  for (const deb of await readdir(debs)) await run('dpkg-deb', ['-x', join(debs, deb), root])
  for (const done of ['debs', 'lists', 'cache']) await rm(join(dir, done), { recursive: true, force: true })
}
