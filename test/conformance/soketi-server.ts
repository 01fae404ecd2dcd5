// Stands in for soketi's server in soketi's own tests: starts a node with the options of a test. soketi's jest loads
// it, so it imports nothing of this project, and Node's modules without their prefix, which that jest does not know.

import { type ChildProcess, execFileSync, spawn } from 'child_process'
import { createHmac } from 'crypto'
import { writeFileSync } from 'fs'
import { join } from 'path'

type Options = Readonly<Record<string, unknown>>

const {
  CONFORMANCE_MAIN: MAIN = '',
  CONFORMANCE_FOLDER: FOLDER = '',
  CONFORMANCE_KEY: ADMIN_KEY = '',
  PATH = '',
} = process.env
const KEY = 'app-key'
const SECRET = 'app-secret'
/** For each option of a test, the node's setting, and the factor from the option's unit to the setting's. */
const SETTINGS: Readonly<Record<string, readonly [name: string, unit: number]>> = {
  'appManager.array.apps.0.maxConnections': ['FANWIRE_ADDRESS_CONNECTIONS', 1],
  'eventLimits.maxPayloadInKb': ['FANWIRE_MAX_BODY', 1024],
  'httpApi.requestLimitInMb': ['FANWIRE_MAX_BODY', 1024 * 1024],
}

/** A connection in the node's list. */
interface Connection {
  readonly id: string
  readonly channels: readonly string[]
}

export class Server {
  readonly options: object
  readonly adapter = new Adapter()
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
      FANWIRE_KEYS_FILE: join(FOLDER, 'keys.json'),
      FANWIRE_PRESENCE_GRACE: '0s',
      FANWIRE_DRAIN: '0s',
    }
    for (const [option, [name, unit]] of Object.entries(SETTINGS)) {
      if (option in this.#given) env[name] = String(Math.ceil(Number(this.#given[option]) * unit))
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
    node.kill('SIGTERM')
    await ended
  }

  /** A file with the test's app. */
  #apps(): string {
    const of = (name: string) => this.#given[`appManager.array.apps.0.${name}`]
    const app = {
      id: of('id') ?? 'app-id',
      // fanwire cannot disable an app. Another key makes it unknown to the test's clients.
      key: of('enabled') === false ? 'other-key' : KEY,
      secret: SECRET,
      client_events: of('enableClientMessages') === true,
      // soketi sends each event in a separate webhook, and its tests rely on that.
      webhooks: (of('webhooks') as object[] | undefined)?.map(each => ({ ...each, batch: false })) ?? [],
      ...(of('enableUserAuthentication') === true && {
        signin_within: Number(this.#given.userAuthenticationTimeout) / 1000,
      }),
    }
    const path = join(FOLDER, 'apps.json')
    writeFileSync(path, JSON.stringify([app]))
    return path
  }
}

/** The connections and members that soketi's tests inspect, requested from the node. */
class Adapter {
  getNamespace() {
    const { connections } = ask('/v1/admin/connections') as { connections: readonly Connection[] }
    const inPresence = (name: string) => name.startsWith('presence-')
    return {
      sockets: new Map(
        connections.map(({ id, channels }) => [
          id,
          { subscribedChannels: new Set(channels), presence: new Set(channels.filter(inPresence)) },
        ]),
      ),
      channels: new Set(connections.flatMap(({ channels }) => channels)),
    }
  }

  async getSockets() {
    return this.getNamespace().sockets
  }

  async getChannelSockets(_app: string, channel: string) {
    const { sockets } = this.getNamespace()
    return new Map([...sockets].filter(([, { subscribedChannels }]) => subscribedChannels.has(channel)))
  }

  async getChannelMembers(_app: string, channel: string) {
    const { members } = ask(`/v1/channels/${channel}/presence`) as { members: readonly object[] }
    return new Set(members)
  }
}

/** Sends a request from another process, because the tests read the result synchronously. */
function ask(path: string): unknown {
  const code = `fetch('http://127.0.0.1:6001${path}', { headers: { authorization: 'Bearer ${ADMIN_KEY}' } })
    .then(answer => answer.text()).then(console.log)`
  return JSON.parse(execFileSync(process.execPath, ['-e', code], { encoding: 'utf8' }))
}

export class App {
  readonly secret = SECRET
}

export const Log = { successTitle(): void {} }

/** Pusher's signature of a webhook. */
export function createWebhookHmac(body: string, secret: string): string {
  return createHmac('sha256', secret).update(body).digest('hex')
}
