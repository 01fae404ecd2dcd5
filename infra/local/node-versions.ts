// Other versions of Node than the one that runs, for the tests: from npm's registry, into .cache/ of this folder.

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url))
/** What npm calls the package with the binary for this machine. */
const PACKAGE = `node-${process.platform}-${process.arch}`

/** Whether the Node that runs is of `version`, such as `22` or `20.19`. */
export function isRunning(version: string): boolean {
  return `${process.versions.node}.`.startsWith(`${version}.`)
}

/** The path of a Node of `version`, such as `22` or `20.19`. Raises what to do where there is none. */
export async function nodeOf(version: string): Promise<string> {
  if (isRunning(version)) return process.execPath
  const kept = join(CACHE, `node-${version}`)
  return (await works(kept)) ?? (await install(kept, version))
}

function binaryIn(dir: string): string {
  return join(dir, 'node_modules', PACKAGE, 'bin', 'node')
}

/** The binary in `dir`, if it runs. */
async function works(dir: string): Promise<string | undefined> {
  const path = binaryIn(dir)
  return run(path, ['--version']).then(
    () => path,
    () => undefined,
  )
}

async function install(kept: string, version: string): Promise<string> {
  console.error(`Node ${version} is not here yet: npm installs ${PACKAGE}@${version} into ${kept}`)
  await mkdir(CACHE, { recursive: true })
  // Beside its place, then moved there in one step, so that what is there is whole.
  const dir = await mkdtemp(`${kept}.`)
  try {
    const options = ['--prefix', dir, '--no-save', '--no-audit', '--no-fund', '--no-package-lock']
    await run('npm', ['install', ...options, `${PACKAGE}@${version}`], { cwd: dir })
    if ((await works(dir)) === undefined) throw new Error(`what was installed does not run`)
    await rm(kept, { recursive: true, force: true })
    await rename(dir, kept)
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    const why = /npm (?:error|ERR!) (?!code )(.*)/.exec(stderr ?? '')?.[1] ?? message
    throw new Error(
      `Node ${version} can not be had from npm's registry (${PACKAGE}@${version}): ${why.trim()}`,
    )
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
  return binaryIn(kept)
}
