// The application of a world: it receives webhooks of joins and leaves, and is killed and restarted at random.

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
import { type Notification, Notifications } from './notifications.ts'

const RECEIVER = fileURLToPath(new URL('./receiver.ts', import.meta.url))
const SECRET = `whsec_${Buffer.from('l'.repeat(32)).toString('base64')}`
/** How long the application runs, ms: `least`, and a random part of `more`. */
const RUNS = { least: 1000, more: 5000 }
/** How long it is down, ms. */
const AWAY = { least: 200, more: 1500 }

export class Application {
  /** The nodes' rules: rooms have presence, and anyone may read and publish the other channels. */
  readonly settings: Readonly<Record<string, string>>
  readonly notifications = new Notifications()
  readonly #world: ClosedWorld
  readonly #port: number
  readonly #file: string
  #read = 0
  #process: ChildProcess | undefined
  #disturbing = new AbortController()
  #disturbed: Promise<void> = Promise.resolve()
  /** Number of kills. */
  kills = 0

  static async start(): Promise<Application> {
    const application = new Application(await freePort())
    await application.#begin()
    return application
  }

  private constructor(port: number) {
    this.#port = port
    this.#file = join(temporaryFolder(), 'received.ndjson')
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

  /** A key with all rights. */
  get key(): string {
    return this.#world.keys.all.key
  }

  token(user: string): string {
    return this.#world.token({ sub: user, caps: caps('room:*', 'sub') })
  }

  /** Adds the webhooks received since the last call to `notifications`. */
  look(): void {
    const lines = readFileSync(this.#file, 'utf8').split('\n').slice(0, -1)
    for (const line of lines.slice(this.#read)) this.notifications.take(JSON.parse(line) as Notification)
    this.#read = lines.length
  }

  /** Starts to kill the application at random times, at least once. */
  disturb(random: () => number): void {
    const { signal } = (this.#disturbing = new AbortController())
    const between = ({ least, more }: typeof RUNS) => sleep(least + more * random(), undefined, { signal })
    const run = async () => {
      do {
        await between(RUNS).catch(() => {})
        this.#process?.kill('SIGKILL')
        this.kills++
        await between(AWAY).catch(() => {})
        await this.#begin()
      } while (!signal.aborted)
    }
    this.#disturbed = run()
  }

  /** Stops killing the application. Returns once it runs. */
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
