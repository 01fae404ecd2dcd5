// Creates a virtual environment of Python with the packages of python/requirements.txt, in .cache/ of this project.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run, without } from '../support/tools.ts'

const REQUIREMENTS = fileURLToPath(new URL('python/requirements.txt', import.meta.url))
const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url))
/** Maximum time to fetch the packages, ms. */
const FETCH_WITHIN = 240_000

/** The reason why Python cannot be used; false if it can. */
export const withoutPython: string | false = without('python3') || withoutVenv()

function withoutVenv(): string | false {
  try {
    execFileSync('python3', ['-c', 'import venv, ensurepip'], { stdio: 'ignore' })
    return false
  } catch {
    return 'python3 cannot create a virtual environment (apt-get install python3-venv)'
  }
}

/** The path of a Python with the packages, which are fetched if they are missing. */
export async function preparePython(): Promise<string> {
  const version = await run('python3', ['-c', 'import sys; print(sys.executable, sys.version)'])
  const key = createHash('sha256').update(version).update(readFileSync(REQUIREMENTS)).digest('hex')
  const kept = join(CACHE, `python-${key.slice(0, 12)}`)
  const inside = (folder: string) => join(folder, 'bin', 'python')
  if (existsSync(inside(kept))) return inside(kept)
  console.error(`fetching the packages of ${REQUIREMENTS} into ${kept}`)
  mkdirSync(CACHE, { recursive: true })
  // Created under another name and renamed in one step, so that a partial one is never used.
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
