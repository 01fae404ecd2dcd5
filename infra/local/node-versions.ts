// Other versions of Node, Deno and Bun for the tests: from npm's registry, into .cache/ of the repository.

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url))
/** npm's name for the package with the binary for this machine. */
const PACKAGE = `node-${process.platform}-${process.arch}`

/** Whether the running Node is of `version`, such as `22` or `20.19`. */
export function isRunning(version: string): boolean {
  return `${process.versions.node}.`.startsWith(`${version}.`)
}

/** The path of a Node of `version`, such as `22` or `20.19`. Raises with instructions if there is none. */
export async function nodeOf(version: string): Promise<string> {
  if (isRunning(version)) return process.execPath
  return programOf(`node-${version}`, `${PACKAGE}@${version}`, `${PACKAGE}/bin/node`)
}

/** The path of the newest Deno or Bun. Raises with instructions if there is none. */
export const denoOrBun = (name: 'deno' | 'bun'): Promise<string> => programOf(name, name, `.bin/${name}`)

/** A program of a package that is cached under a name. */
async function programOf(name: string, spec: string, path: string): Promise<string> {
  const kept = join(CACHE, name)
  const program = join(kept, 'node_modules', path)
  if (!(await works(program))) await install(kept, spec, path)
  return program
}

const works = (program: string): Promise<boolean> =>
  run(program, ['--version']).then(
    () => true,
    () => false,
  )

async function install(kept: string, spec: string, path: string): Promise<void> {
  console.error(`${spec} is not cached yet: npm installs it into ${kept}`)
  await mkdir(CACHE, { recursive: true })
  // Installs into a temporary folder and renames it, so that the final path never has a partial installation.
  const dir = await mkdtemp(`${kept}.`)
  try {
    const options = ['--prefix', dir, '--no-save', '--no-audit', '--no-fund', '--no-package-lock']
    await run('npm', ['install', ...options, spec], { cwd: dir })
    if (!(await works(join(dir, 'node_modules', path)))) throw new Error(`the installed program does not run`)
    await rm(kept, { recursive: true, force: true })
    await rename(dir, kept)
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    const why = /npm (?:error|ERR!) (?!code )(.*)/.exec(stderr ?? '')?.[1] ?? message
    throw new Error(`${spec} cannot be installed from npm's registry: ${why.trim()}`)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
