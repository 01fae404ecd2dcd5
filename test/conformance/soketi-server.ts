// Stands in for soketi's server in soketi's own tests: starts a node with the options of a test. soketi's jest loads it,
// so it imports nothing of this project, and Node's modules without their prefix, which that jest does not know.

import { type ChildProcess, spawn } from 'child_process'
import { createHmac } from 'crypto'
import { writeFileSync } from 'fs'
import { join } from 'path'

type Options = Readonly<Record<string, unknown>>

const { CONFORMANCE_MAIN: MAIN = '', CONFORMANCE_FOLDER: FOLDER = '', PATH = '' } = process.env
const KEY = 'app-key'
const SECRET = 'app-secret'
/** The node's setting for an option of a test. */
const SETTINGS: Readonly<Record<string, string>> = {
  'eventLimits.maxChannelsAtOnce': 'FANWIRE_MAX_CHANNELS',
  'appManager.array.apps.0.maxConnections': 'FANWIRE_ADDRESS_CONNECTIONS',
}

export class Server {
  readonly options: object
  readonly #given: Options
  #node: ChildProcess | undefined

  constructor(given: Options) {
    this.#given = given
    this.options = {
      cache: { driver: 'memory' },
      appManager: { array: { apps: [{ secret: SECRET }] } },
    }
  }

  /** Calls back once the node listens. */
  start(listens: (server: this) => void): void {
    const env: Record<string, string> = {
      PATH,
      PORT: '6001',
      FANWIRE_PUSHER_APPS: this.#apps(),
      FANWIRE_RULES: join(FOLDER, 'rules.json'),
      FANWIRE_PRESENCE_GRACE: '0s',
      FANWIRE_DRAIN: '0s',
    }
    for (const [option, setting] of Object.entries(SETTINGS)) {
      if (option in this.#given) env[setting] = String(this.#given[option])
    }
    const node = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    this.#node = node
    let output = ''
    node.stdout.on('data', (data: Buffer) => {
      if (output.includes('listening on http')) return
      output += String(data)
      if (output.includes('listening on http')) listens(this)
    })
  }

  async stop(): Promise<void> {
    const node = this.#node
    if (node === undefined || node.exitCode !== null) return
    const ended = new Promise<void>(resolve => void node.once('exit', () => resolve()))
    node.kill('SIGKILL')
    await ended
  }

  /** A file with the test's app. */
  #apps(): string {
    const of = (name: string) => this.#given[`appManager.array.apps.0.${name}`]
    const app = {
      id: of('id') ?? 'app-id',
      // fanwire has no apps that are switched off: they are not in the file.
      key: of('enabled') === false ? 'other-key' : KEY,
      secret: SECRET,
      client_events: of('enableClientMessages') === true,
      webhooks: of('webhooks') ?? [],
      ...(of('enableUserAuthentication') === true && {
        signin_within: Number(this.#given.userAuthenticationTimeout) / 1000,
      }),
    }
    const path = join(FOLDER, 'apps.json')
    writeFileSync(path, JSON.stringify([app]))
    return path
  }
}

export class App {
  readonly secret = SECRET
}

export const Log = { successTitle(): void {} }

/** Pusher's signature of a webhook. */
export function createWebhookHmac(body: string, secret: string): string {
  return createHmac('sha256', secret).update(body).digest('hex')
}
