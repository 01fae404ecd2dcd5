// Programs that some tests use if they are installed.

import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** An empty folder that is removed with the process. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'fanwire-test-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

/** The path of a program; undefined if it is not installed. */
export function pathOf(name: string): string | undefined {
  try {
    return execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()
  } catch {
    return undefined
  }
}

/** The reason to skip a test that needs a program; false if it is installed. `fits`: its `--version` must match it. */
export function without(name: string, fits?: RegExp): string | false {
  if (pathOf(name) === undefined) return `${name} is not installed`
  if (fits === undefined || fits.test(execFileSync(name, ['--version'], { encoding: 'utf8' }))) return false
  return `this ${name} cannot do that`
}

/** Runs a program to its end, at most `within` ms. Returns its stdout. */
export function run(name: string, args: readonly string[], within = 30_000): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(name, args, { timeout: within, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${error.message}\n${stderr}`))
    })
  })
}

/** A program that keeps running, and its output so far. */
export class Program {
  text = ''
  readonly #child: ChildProcess
  #look: (() => void) | undefined

  constructor(name: string, args: readonly string[]) {
    this.#child = spawn(name, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#child.stdout?.on('data', data => {
      this.text += data
      this.#look?.()
    })
    this.#child.once('close', () => this.#look?.())
  }

  /** Returns its output once it matches or the program has ended. */
  async until(fits: (text: string) => boolean): Promise<string> {
    while (!fits(this.text) && this.#child.exitCode === null && this.#child.signalCode === null) {
      await new Promise<void>(resolve => {
        this.#look = resolve
      })
    }
    return this.text
  }

  stop(): void {
    this.#child.kill('SIGKILL')
  }
}
