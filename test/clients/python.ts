// A Python with the packages of python/requirements.txt: a virtual environment in .cache/ of this project.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run, without } from '../support/tools.ts'

const REQUIREMENTS = fileURLToPath(new URL('python/requirements.txt', import.meta.url))
const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url))
/** Ms that it may take to fetch packages. */
const FETCH_WITHIN = 240_000

/** Why there is no Python; false where there is one. */
export const withoutPython: string | false = without('python3') || withoutVenv()

function withoutVenv(): string | false {
  try {
    execFileSync('python3', ['-c', 'import venv, ensurepip'], { stdio: 'ignore' })
    return false
  } catch {
    return 'python3 cannot create a virtual environment (apt-get install python3-venv)'
  }
}

/** The path of a Python that has the packages; they are fetched where they are not there yet. */
export async function preparePython(): Promise<string> {
  const version = await run('python3', ['-c', 'import sys; print(sys.executable, sys.version)'])
  const key = createHash('sha256').update(version).update(readFileSync(REQUIREMENTS)).digest('hex')
  const kept = join(CACHE, `python-${key.slice(0, 12)}`)
  const inside = (folder: string) => join(folder, 'bin', 'python')
  if (existsSync(inside(kept))) return inside(kept)
  console.error(`fetching the packages of ${REQUIREMENTS} into ${kept}`)
  mkdirSync(CACHE, { recursive: true })
  // Beside its place, then moved there in one step, so that it is whole or not there.
  const folder = mkdtempSync(`${kept}.`)
  try {
    await run('python3', ['-m', 'venv', folder], FETCH_WITHIN)
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', REQUIREMENTS]
    await run(inside(folder), pip, FETCH_WITHIN)
    if (!existsSync(inside(kept))) renameSync(folder, kept)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return inside(kept)
}
