// Runs the code blocks of one document in order. The blocks run unchanged, except that free ports replace theirs.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { ROOT } from '../../bench/files.ts'
import { freePort } from '../../infra/local/ports.ts'
import { startBrowser } from '../browser/browser.ts'
import { makeCertificate } from '../contract/http2.ts'
import { buildGo } from '../support/go.ts'
import { startRedis } from '../support/redis-server.ts'
import { pathOf, run, temporaryFolder } from '../support/tools.ts'
import { until } from '../support/until.ts'
import { type Block, placeOf } from './blocks.ts'

/** Maximum time of a block, ms. The first block of a language compiles its library. */
const RUNS_WITHIN = 120_000
const PORTS = ['8080', '8081', '8082', '6379', '3000'] as const
const CACHE = join(ROOT, '.cache', 'docs')
const REQUIREMENTS = join(ROOT, 'test/docs/requirements.txt')
/** Folder of the libraries that the Python blocks use. */
const PYTHON = join(
  CACHE,
  `python-${createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 12)}`,
)
const MAIN = join(ROOT, 'dist/services/main.js')

/** The name of a program that a block needs and that is not installed; undefined if it can run. */
export function missingFor({ language, flags }: Block): string | undefined {
  const program = flags.has('browser') ? 'chromium' : { python: 'python3', go: 'go', sh: 'bash' }[language]
  return program === undefined || pathOf(program) !== undefined ? undefined : program
}

interface Follower {
  readonly block: Block
  output(): string
  stop(): Promise<void>
}

export class Page {
  /** The folder of the blocks' files, and their working directory unless they belong to an example. */
  readonly #folder: string
  readonly #cwd: string
  readonly #ports: ReadonlyMap<string, string>
  readonly #followers: Follower[] = []
  readonly #closers: (() => Promise<unknown>)[] = []
  #browser: Browser | undefined
  #files = 0

  private constructor(folder: string, cwd: string, ports: ReadonlyMap<string, string>) {
    this.#folder = folder
    this.#cwd = cwd
    this.#ports = ports
  }

  /** `file`: the document's path from the root of the repository. */
  static async open(file: string, blocks: readonly Block[]): Promise<Page> {
    const folder = userFolder()
    const ports = new Map<string, string>()
    for (const port of PORTS) ports.set(port, `${await freePort()}`)
    const cwd = /^examples\/.*\//.test(file) ? join(ROOT, dirname(file)) : folder
    const page = new Page(folder, cwd, ports)
    const text = blocks.map(block => block.text).join('\n')
    if (/:6379\b/.test(text)) await page.#startRedis()
    if (blocks.some(({ flags }) => flags.has('certificate'))) makeCertificate(folder)
    const startsNode = blocks.some(({ flags, text }) => flags.has('serves') && text.includes('fanwire'))
    if (/:808\d\b/.test(text) && !startsNode) {
      const settings = blocks.some(({ flags }) => flags.has('h2c'))
        ? { FANWIRE_H2C_PORT: page.#port('8081') }
        : {}
      await page.#serve(`exec '${process.execPath}' '${MAIN}'`, settings)
    }
    return page
  }

  #port(written: string): string {
    return this.#ports.get(written) ?? written
  }

  /** The text of a block with the ports of this run. */
  #textOf({ text }: Block): string {
    return text.replaceAll(/(?<=[:= ])\d{4}\b/g, port => this.#port(port))
  }

  async #startRedis(): Promise<void> {
    const redis = await startRedis({ port: Number(this.#port('6379')) })
    this.#closers.push(() => redis.stop())
  }

  /** Runs a block. Raises if it fails. */
  async run(block: Block): Promise<void> {
    const { flags } = block
    if (flags.has('serves')) return this.#serve(this.#textOf(block))
    if (flags.has('follows')) return this.#follow(block)
    if (block.language === 'html') return this.#openLinks(block)
    if (flags.has('browser')) return void (await this.#inBrowser(block))
    const [command, ...args] = await this.#commandOf(block)
    const ran = await this.#toItsEnd(`${command}`, args)
    if (ran.code !== 0 || ran.output.includes('"error":{"code"')) {
      throw new Error(`${placeOf(block)} ended with ${ran.code}:\n${ran.output}`)
    }
  }

  /** Returns when every follower has printed its text. */
  async finish(): Promise<void> {
    for (const { block, output } of this.#followers) {
      const text = block.flags.get('follows') ?? ''
      await until(`${placeOf(block)} prints ${JSON.stringify(text)}`, () => output().includes(text)).catch(
        error => {
          throw new Error(`${error instanceof Error ? error.message : error}; it printed:\n${output()}`)
        },
      )
    }
  }

  async close(): Promise<void> {
    for (const follower of this.#followers) await follower.stop()
    await this.#browser?.close()
    for (const close of this.#closers.reverse()) await close()
  }

  // Programs ------------------------------------------------------------------------------------------------

  /** Starts a program in a separate process group, and collects its output. */
  #launch(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const child = spawn(command, args, {
      cwd: this.#cwd,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: [join(this.#folder, 'bin'), process.env.PATH].join(delimiter),
        HOME: process.env.HOME,
        PORT: this.#port('8080'),
        STAGING: `http://127.0.0.1:${this.#port('8080')}`,
        PYTHONPATH: PYTHON,
        GOFLAGS: '-mod=mod',
        ...env,
      },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (output += data))
    const ended = new Promise<number | null>(resolve => child.once('close', code => resolve(code)))
    return { child, ended, output: () => output }
  }

  async #toItsEnd(
    command: string,
    args: readonly string[],
  ): Promise<{ code: number | null; output: string }> {
    const { child, ended, output } = this.#launch(command, args)
    const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), RUNS_WITHIN)
    const code = await ended
    clearTimeout(timer)
    return { code, output: output() }
  }

  /** Starts a server, such as a node, and returns when it listens. */
  async #serve(script: string, settings: Readonly<Record<string, string>> = {}): Promise<void> {
    // Short heartbeats, because a follower may detect only with the next one that its output is closed.
    const env = { FANWIRE_HEARTBEAT: '1s', FANWIRE_DRAIN: '0s', FANWIRE_DRAIN_NOTICE: '0s', ...settings }
    const { child, ended, output } = this.#launch('bash', ['-euc', script], env)
    this.#closers.push(() => stop(child, ended))
    const listens = until(
      `${script} listens`,
      () => /listening on http|Serving HTTP on|stop all:/.test(output()),
      RUNS_WITHIN,
    )
    const gone = ended.then(code => {
      throw new Error(`${script} ended with ${code}:\n${output()}`)
    })
    gone.catch(() => {})
    await Promise.race([listens, gone])
  }

  async #commandOf(block: Block): Promise<string[]> {
    const text = this.#textOf(block)
    const file = (extension: string, content = text) => {
      const path = join(this.#folder, `block-${++this.#files}.${extension}`)
      writeFileSync(path, content)
      return path
    }
    switch (block.language) {
      case 'sh':
        return ['bash', '-euo', 'pipefail', file('sh')]
      case 'js':
        return [process.execPath, file('mjs')]
      case 'python':
        await python()
        return ['python3', file('py')]
      case 'go':
        return [await this.#buildGo(text)]
      default:
        throw new Error(`${placeOf(block)}: nothing runs ${block.language}`)
    }
  }

  async #buildGo(text: string): Promise<string> {
    const folder = join(this.#folder, `go-${++this.#files}`)
    mkdirSync(folder)
    for (const name of ['go.mod', 'go.sum']) {
      writeFileSync(join(folder, name), readFileSync(join(ROOT, 'test/docs/go', name)))
    }
    writeFileSync(join(folder, 'main.go'), text)
    await buildGo(folder, 'main')
    return join(folder, 'main')
  }

  // Followers -----------------------------------------------------------------------------------------------

  async #follow(block: Block): Promise<void> {
    const before = await this.#readers(block)
    if (block.flags.has('browser')) {
      const lines = await this.#inBrowser(block)
      this.#followers.push({ block, output: () => lines.join('\n'), stop: async () => {} })
    } else {
      const [command, ...args] = await this.#commandOf(block)
      const { child, ended, output } = this.#launch(`${command}`, args)
      this.#followers.push({ block, output, stop: () => stop(child, ended) })
    }
    // Short polling reads from the earliest event and has no reader to wait for.
    if (/\/v1\/poll\b/.test(block.text)) return
    const { output } = this.#followers.at(-1) as Follower
    await until(
      `${placeOf(block)} follows`,
      async () => (await this.#readers(block)) > before,
      RUNS_WITHIN,
    ).catch(error => {
      throw new Error(`${error instanceof Error ? error.message : error}; it printed:\n${output()}`)
    })
  }

  /** The number of readers of the channel `news` on the node that a block uses. */
  async #readers(block: Block): Promise<number> {
    const [, scheme = 'http', port = '8080'] = /\b(https?|ws):\/\/127\.0\.0\.1:(\d+)/.exec(block.text) ?? []
    const cleartext = block.flags.has('h2c') ? '8080' : port
    const base = `${scheme === 'https' ? 'https' : 'http'}://127.0.0.1:${this.#port(cleartext)}`
    const asked = await run('curl', ['-sk', `${base}/v1/channels/news`]).catch(() => '{}')
    await wait(20)
    return (JSON.parse(asked) as { readers?: number }).readers ?? 0
  }

  /** Runs a script in a page of the node. Returns its printed lines; the array grows. */
  async #inBrowser(block: Block): Promise<string[]> {
    this.#browser ??= await startBrowser()
    const page = await this.#browser.newPage()
    const lines: string[] = []
    page.on('console', message => lines.push(message.text()))
    page.on('pageerror', error => lines.push(String(error)))
    // Playwright reports logged objects without their members, so they are logged as JSON.
    await page.addInitScript(`for (const name of ['log', 'warn', 'error']) {
      const print = console[name]
      console[name] = (...all) => print(...all.map(each => typeof each === 'string' ? each : JSON.stringify(each)))
    }`)
    await page.goto(`http://127.0.0.1:${this.#port('8080')}/healthz`)
    await page.addScriptTag({ content: this.#textOf(block) })
    return lines
  }

  /** Raises unless every link of an HTML block returns 200. */
  async #openLinks(block: Block): Promise<void> {
    const links = [...this.#textOf(block).matchAll(/(?:href|src)="(http[^"]+)"/g)].map(
      ([, link = '']) => link,
    )
    if (links.length === 0) throw new Error(`${placeOf(block)} has no link`)
    for (const link of links) {
      const { status } = await fetch(link)
      if (status !== 200) throw new Error(`${placeOf(block)}: ${link} is ${status}`)
    }
  }
}

/** Makes a folder outside the repository in which fanwire and all packages of this repository are installed. */
function userFolder(): string {
  const beside = temporaryFolder()
  const folder = join(beside, 'page')
  clone(join(beside, 'fanwire'))
  const modules = join(folder, 'node_modules')
  mkdirSync(join(modules, '.bin'), { recursive: true })
  const installed = join(ROOT, 'node_modules')
  for (const name of readdirSync(installed)) {
    if (!name.startsWith('.')) symlinkSync(join(installed, name), join(modules, name))
  }
  symlinkSync(ROOT, join(modules, 'fanwire'))
  symlinkSync(MAIN, join(modules, '.bin', 'fanwire'))
  chmodSync(MAIN, 0o755)
  npxWithoutNpm(join(folder, 'bin'))
  writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}\n')
  return folder
}

/** Writes a substitute for `npx fanwire` that saves npm's start, about 1 s. test/package.test.ts runs the real one. */
function npxWithoutNpm(folder: string): void {
  mkdirSync(folder)
  const lines = [
    '#!/bin/sh',
    `test "$1" = fanwire || exec '${pathOf('npx')}' "$@"`,
    `shift; exec '${process.execPath}' '${MAIN}' "$@"`,
  ]
  writeFileSync(join(folder, 'npx'), `${lines.join('\n')}\n`, { mode: 0o755 })
}

/** Makes a substitute for a clone of the repository: only its `npm run cluster`, from the existing build. */
function clone(folder: string): void {
  mkdirSync(folder)
  const scripts = { cluster: `cd '${ROOT}' && exec node_modules/.bin/tsx infra/local/cluster.ts` }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, scripts }))
}

let installed: Promise<void> | undefined

/** Installs the libraries that the Python blocks use, once. */
function python(): Promise<void> {
  installed ??= installPython()
  return installed
}

async function installPython(): Promise<void> {
  if (existsSync(PYTHON)) return
  mkdirSync(CACHE, { recursive: true })
  // Created under another name and renamed in one step, so that a partial one is never used.
  const folder = mkdtempSync(`${PYTHON}.`)
  try {
    const args = ['-m', 'pip', 'install', '--quiet', '--no-input', '--root-user-action=ignore']
    await run('python3', [...args, '--target', folder, '--requirement', REQUIREMENTS], RUNS_WITHIN)
    if (!existsSync(PYTHON)) renameSync(folder, PYTHON)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  signalGroup(child, 'SIGTERM')
  const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), 5000)
  await ended
  clearTimeout(timer)
}

/** Signals a program and everything that it started. */
function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal)
  } catch {
    // The processes have ended.
  }
}

/** The syntax error of a block that is not run; undefined if there is none. */
export function syntaxProblem({ language, text }: Block): string | undefined {
  const check = (command: string, args: readonly string[]) => {
    const { status, stderr } = spawnSync(command, args, { input: text, encoding: 'utf8' })
    return status === 0 ? undefined : stderr
  }
  switch (language) {
    case 'sh':
      return check('bash', ['-n'])
    case 'js':
      return check(process.execPath, ['--input-type=module', '--check'])
    case 'python':
      return check('python3', ['-c', 'import ast, sys; ast.parse(sys.stdin.read())'])
    case 'go':
      return check('gofmt', ['-e'])
    case 'json':
      try {
        JSON.parse(text)
        return undefined
      } catch (error) {
        return String(error)
      }
    default:
      return undefined
  }
}
