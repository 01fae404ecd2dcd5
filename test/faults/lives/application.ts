// The application of a world: it is told who comes and goes, and is killed and started again at random.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../../infra/local/ports.ts'
import { watchOver } from '../../../infra/local/process.ts'
import { caps, ClosedWorld } from '../../support/closed-node.ts'
import { temporaryFolder } from '../../support/tools.ts'
import { Heard, type Told } from './heard.ts'

const RECEIVER = fileURLToPath(new URL('./receiver.ts', import.meta.url))
const SECRET = `whsec_${Buffer.from('l'.repeat(32)).toString('base64')}`
/** Ms that it runs, and is away. */
const RUNS = { least: 1000, more: 5000 }
const AWAY = { least: 200, more: 1500 }

export class Application {
  /** What nodes are told: members are kept of rooms, and anybody may read and publish the rest. */
  readonly settings: Readonly<Record<string, string>>
  readonly heard = new Heard()
  readonly #world: ClosedWorld
  readonly #port: number
  readonly #file: string
  #read = 0
  #process: ChildProcess | undefined
  #disturbing = new AbortController()
  #disturbed: Promise<void> = Promise.resolve()
  /** How often it was killed. */
  kills = 0

  static async start(): Promise<Application> {
    const application = new Application(await freePort())
    await application.#begin()
    return application
  }

  private constructor(port: number) {
    this.#port = port
    this.#file = join(temporaryFolder(), 'told.ndjson')
    writeFileSync(this.#file, '')
    this.#world = new ClosedWorld()
    this.#world.writeRules(`
channels:
  - { match: "room:*", subscribe: token, presence: true }
default: { subscribe: anyone, publish: anyone }
webhooks:
  - { url: "http://127.0.0.1:${port}/", secrets: ["${SECRET}"], events: ["presence.*", "channel.*"] }
`)
    const { RULES, KEYS_FILE, JWT_KEYS_FILE } = this.#world.settings
    this.settings = {
      FANWIRE_RULES: `${RULES}`,
      FANWIRE_KEYS_FILE: `${KEYS_FILE}`,
      FANWIRE_JWT_KEYS_FILE: `${JWT_KEYS_FILE}`,
      FANWIRE_PRESENCE_GRACE: '1s',
    }
  }

  /** A key that may everything. */
  get key(): string {
    return this.#world.keys.all.key
  }

  token(user: string): string {
    return this.#world.token({ sub: user, caps: caps('room:*', 'sub') })
  }

  /** What it was told since it was asked last is in `heard`. */
  look(): void {
    const lines = readFileSync(this.#file, 'utf8').split('\n').slice(0, -1)
    for (const line of lines.slice(this.#read)) this.heard.take(JSON.parse(line) as Told)
    this.#read = lines.length
  }

  /** Kills it at random from now on. */
  disturb(random: () => number): void {
    const { signal } = (this.#disturbing = new AbortController())
    const between = ({ least, more }: typeof RUNS) => sleep(least + more * random(), undefined, { signal })
    const run = async () => {
      while (!signal.aborted) {
        await between(RUNS).catch(() => {})
        if (signal.aborted) return
        this.#process?.kill('SIGKILL')
        this.kills++
        await between(AWAY).catch(() => {})
        await this.#begin()
      }
    }
    this.#disturbed = run()
  }

  /** Leaves it alone. Returns when it runs. */
  async calm(): Promise<void> {
    this.#disturbing.abort()
    await this.#disturbed
  }

  async close(): Promise<void> {
    await this.calm()
    this.#process?.kill('SIGKILL')
  }

  async #begin(): Promise<void> {
    const args = ['--import', 'tsx', RECEIVER, `${this.#port}`, this.#file, SECRET]
    const begun = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#process = begun
    if (begun.pid !== undefined) {
      const watch = watchOver(begun.pid)
      begun.once('exit', () => watch.kill('SIGKILL'))
    }
    await Promise.race([once(begun.stdout, 'data'), once(begun, 'exit')])
  }
}
