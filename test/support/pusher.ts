// A node that speaks Pusher, with an app for tests, and clients of it: pusher-js and the library for servers.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import PusherServer from 'pusher'
import pusherJs from 'pusher-js'
import { type Settings, startMemoryNode } from '../contract/node.ts'
import { temporaryFolder } from './tools.ts'
import { until } from './until.ts'

/** The module itself is the class, although its types declare a default export. */
const PusherJs = pusherJs as unknown as typeof pusherJs.default
type PusherClient = InstanceType<typeof PusherJs>

export const APP = { id: 'app', key: 'key', secret: 'secret', client_events: true }

/** Writes a file of apps. Returns its path. */
export function appsFile(apps: unknown = [APP]): string {
  const path = join(temporaryFolder(), 'apps.json')
  writeFileSync(path, typeof apps === 'string' ? apps : JSON.stringify(apps))
  return path
}

export async function startPusherNode(settings: Settings = {}, apps: unknown = [APP]) {
  const node = await startMemoryNode({ PUSHER_APPS: appsFile(apps), PRESENCE_GRACE: '0s', ...settings })
  return { node, ...clientsOf(node.port) }
}

/** A message that a client received. */
export interface Message {
  readonly event: string
  readonly channel?: string
  readonly data?: unknown
  readonly user_id?: unknown
}

export function clientsOf(port: number) {
  // 32 bytes in base64.
  const encryptionMasterKeyBase64 = 'nxzvbGF+f8FGhk/jOaZvgMle1tqxzF/VfUZLBLhhaH0='
  const options = {
    appId: APP.id,
    key: APP.key,
    secret: APP.secret,
    host: '127.0.0.1',
    port: String(port),
    encryptionMasterKeyBase64,
  }
  const server = new PusherServer(options)
  const clients: PusherClient[] = []

  /** A pusher-js client, whose page's server signs its requests. */
  const connect = (user?: string | number, key = APP.key, signs = server) => {
    const client = new PusherJs(key, {
      cluster: '',
      wsHost: '127.0.0.1',
      wsPort: port,
      forceTLS: false,
      enabledTransports: ['ws'],
      channelAuthorization: {
        transport: 'ajax',
        endpoint: '',
        customHandler({ socketId, channelName }, done) {
          const member = { user_id: user as string, user_info: { name: `user ${user}` } }
          const data = channelName.startsWith('presence-') ? member : undefined
          done(null, signs.authorizeChannel(socketId, channelName, data) as never)
        },
      },
      userAuthentication: {
        transport: 'ajax',
        endpoint: '',
        customHandler: ({ socketId }, done) =>
          done(null, signs.authenticateUser(socketId, { id: String(user) }) as never),
      },
    })
    clients.push(client)
    const received: Message[] = []
    client.connection.bind('message', (message: Message) => void received.push(message))
    return { client, received }
  }

  /** Subscribes to a channel. Returns once that has succeeded. */
  const subscribed = async (client: PusherClient, name: string) => {
    const channel = client.subscribe(name)
    await until(`subscribed to ${name}`, () => channel.subscribed)
    return channel
  }

  return { server, connect, subscribed, disconnect: () => disconnectAll(clients) }
}

/**
 * pusher-js closes a socket that is closed already, and its WebSocket library then waits 30 s for an answer. The
 * process exits after 5 s instead, so that only tests with a process of their own may disconnect these clients.
 */
function disconnectAll(clients: readonly PusherClient[]): void {
  for (const client of clients) client.disconnect()
  setTimeout(() => process.exit(), 5000).unref()
}
