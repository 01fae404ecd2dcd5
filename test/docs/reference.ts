// Generates parts of docs/reference/: a table as an overview, and a section for each setting, error code and route, so
// that each has a URL and the site's search finds it.

import type { FastifyInstance } from 'fastify'
import { type SettingText, settingsTable, settingTexts } from '../../services/config/text.ts'
import { CODES, errorTable } from '../../services/errors.ts'
import { CREDENTIALS, type Expected, REFUSALS, WAYS } from '../contract/access.ts'
import { startMemoryNode } from '../contract/node.ts'
import { EVERYTHING } from '../support/everything.ts'

/** Descriptions of the routes. A test compares the list with the routes of a node. */
const ROUTES: Readonly<Record<string, string>> = {
  'GET /v1/channels/{channel}/events':
    'Returns the history of a channel in pages. See [History](../reading#history).',
  'POST /v1/channels/{channel}/events':
    'Publishes one event; the body is its data. See [Publish](../publish).',
  'POST /v1/channels/{channel}/end':
    'Ends a channel, after a last event if there is a body. See [Publish](../publish#end).',
  'POST /v1/events':
    'Publishes many events, as JSON or as a stream of NDJSON. See [Publish](../publish#many-events-in-one-request).',
  'GET /v1/channels/{channel}':
    'Describes a channel: `head` and `tail` (the newest and the oldest position that can be read, `tail` is `null` if there is none), `count` (events that can be read) and `readers` (on this node).',
  'GET /v1/channels/{channel}/events/{id}':
    'Returns one event, cacheable for ever (for 5 s if the rule of its channel has `erasable`). 404 `FW_EVENT_NOT_FOUND` if the event is unknown or was trimmed.',
  'DELETE /v1/channels/{channel}/events/{id}':
    'Erases the data of an event. See [Server control](../admin#erase).',
  'DELETE /v1/channels/{channel}': 'Erases all events of a channel. See [Server control](../admin#erase).',
  'GET /v1/channels/{channel}/presence':
    'Lists the members of a channel, with a cursor of its joins and leaves. See [Presence](../presence).',
  'GET /v1/channels/{channel}/presence/count':
    'Counts the members and the clients of a channel, over all nodes. See [Presence](../presence).',
  'GET /v1/lives':
    'Returns the events of the [log of lives](../presence#the-log-of-lives) after the cursor. Needs the right `admin`.',
  'POST /v1/tickets':
    'Exchanges a token for a ticket: `201 {"ticket","expires"}`. Any node accepts it once, as `?ticket=` on any read, for 30 s (`expires` is in ms since 1970) and no longer than the token. It is for `EventSource`, pages and WebSockets of browsers, which cannot send headers. An API key or another ticket gets none. See [Tickets](../access#tickets).',
  'GET /v1/poll': 'Returns the events after the cursor at once. See [Short polling](../wires/poll).',
  'GET /v1/long-poll':
    'Returns the events after the cursor, as soon as there is one. See [Long polling](../wires/long-poll).',
  'GET /v1/sse': 'A stream for `EventSource`. See [Server-sent events](../wires/sse).',
  'GET /v1/stream': 'A stream of NDJSON. See [HTTP stream](../wires/stream).',
  'GET /v1/ws': 'A WebSocket. See [WebSocket](../wires/ws).',
  'GET /v1/refresh': 'An HTML page that reloads itself. See [Self-reloading page](../wires/refresh).',
  'GET /v1/push': 'A stream with HTTP/2 pushes. See [HTTP/2 push](../wires/push).',
  'GET /socket.io/': 'Socket.IO, with `FANWIRE_SOCKET_IO=1`. See [Socket.IO](../wires/socket-io).',
  'POST /socket.io/': 'Socket.IO over polling, with `FANWIRE_SOCKET_IO=1`.',
  'GET /v1/stream/{path}':
    'Durable Streams, with `FANWIRE_DURABLE_STREAMS=1`: reads the stream `{path}`, which is the channel of that name. See [From Durable Streams](../migrate/durable-streams).',
  'PUT /v1/stream/{path}': 'Creates the stream.',
  'POST /v1/stream/{path}': 'Appends to the stream, or closes it.',
  'DELETE /v1/stream/{path}': 'Deletes the stream. Needs the right `admin`.',
  'GET /connection/websocket':
    "Centrifugo's clients over WebSocket, with `FANWIRE_CENTRIFUGE=1`. See [From Centrifugo](../migrate/centrifugo).",
  'POST /connection/http_stream': 'The same over HTTP streaming; commands come by `POST /emulation`.',
  'GET /connection/sse': 'The same over server-sent events; commands come by `POST /emulation`.',
  'POST /emulation': 'Commands of such a client.',
  'GET /connection/uni_websocket': 'One way: the connect request comes as the first message.',
  'POST /connection/uni_http_stream': 'One way: the connect request is the body.',
  'GET /connection/uni_sse': 'One way: the connect request is the parameter `cf_connect`.',
  'POST /connection/uni_sse': 'One way: the connect request is the body.',
  'POST /api/{method}': "Centrifugo's server API, with an API key in `X-API-Key`.",
  'GET /app/{key}':
    'Clients of Pusher over WebSocket, with `FANWIRE_PUSHER_APPS`. See [From Pusher](../migrate/pusher).',
  'POST /apps/{id}/events': "Pusher's API for servers, signed with the secret of the app: an event.",
  'POST /apps/{id}/batch_events': 'Several events.',
  'GET /apps/{id}/channels': 'Channels that have readers, on all nodes.',
  'GET /apps/{id}/channels/{channel}': 'A channel: whether it has readers, and how many.',
  'GET /apps/{id}/channels/{channel}/users': 'Members of a presence channel.',
  'POST /apps/{id}/users/{user}/terminate_connections': 'Ends the connections of a user who has signed in.',
  'GET /.well-known/mercure':
    'Streams updates to subscribers of Mercure, with `FANWIRE_MERCURE=1`. See [From Mercure](../migrate/mercure).',
  'POST /.well-known/mercure': 'Publishes an update, from a form.',
  'GET /.well-known/mercure/subscriptions':
    'Lists subscriptions, with `FANWIRE_MERCURE_SUBSCRIPTIONS=1`. Needs a token that grants the path.',
  'GET /.well-known/mercure/subscriptions/{first}': 'Lists the subscriptions of a topic (0.x).',
  'GET /.well-known/mercure/subscriptions/{first}/{second}':
    'Returns a subscription (0.x: topic and subscriber), or lists those of a matcher (1.0: its type and its text).',
  'GET /.well-known/mercure/subscriptions/{first}/{second}/{third}': 'Returns a subscription (1.0).',
  'GET /': 'Lists the entry points of the node: its pages, probes and API.',
  'GET /console': 'The [console](../console). Off with `FANWIRE_CONSOLE=0`, and on a pure writer.',
  'GET /console/console.js': 'Its script.',
  'GET /console/console.css': 'Its styles.',
  'GET /console/icon.svg': 'Its icon.',
  'GET /v1/admin/stats': 'Returns the [statistics](../admin#stats) of each node.',
  'GET /v1/admin/channels/{channel}':
    'Describes a channel on all nodes, and the rule that applies to it. See [Server control](../admin#stats).',
  'GET /v1/admin/channels/{channel}/readers':
    'Lists the readers of a channel on all nodes, with their positions. See [Server control](../admin#lists).',
  'GET /docs': 'A page that documents the API. Off with `FANWIRE_DOCS=0`, and on a pure writer.',
  'GET /docs/reference.js': 'The script of that page.',
  'GET /client.js': 'The [client](../client) as a module.',
  'GET /client.global.js': 'The same for a plain `<script>`: it defines `fanwire`.',
  'GET /openapi.json': 'All routes as OpenAPI 3.1.',
  'GET /v1/admin/nodes': 'Lists the nodes. See [Server control](../admin#lists).',
  'GET /v1/admin/connections':
    'Lists the connections of all nodes, or with `user` those of one user. See [Server control](../admin#lists).',
  'GET /v1/admin/channels':
    'Lists the channels that nodes follow, or with `match` those of a pattern. See [Server control](../admin#lists).',
  'POST /v1/admin/users/{user}/disconnect':
    'Ends all connections of a user, or the one that `client` names. See [Server control](../admin#users).',
  'POST /v1/admin/users/{user}/revoke':
    'Rejects the tokens of a user that were issued before a given time. See [Server control](../admin#users).',
  'POST /v1/admin/channels/{channel}/unsubscribe':
    'Removes a channel from the connections of a user. See [Server control](../admin#users).',
  'GET /v1/admin/webhooks': 'Lists the webhooks, and the progress of each. See [Webhooks](../webhooks).',
  'POST /v1/admin/webhooks/{webhook}/replay':
    'Sends all events from a cursor on to one webhook again. See [Webhooks](../webhooks).',
  'POST /v1/admin/explain':
    'Explains why a right is allowed or denied, or why an event did or did not reach a user. See [Server control](../admin#explain).',
  'GET /healthz': '200: the process runs. See [Health and metrics](../operate/metrics).',
  'GET /readyz':
    '200 while the node can deliver, otherwise 503. See [Health and metrics](../operate/metrics).',
  'GET /metrics': 'Metrics for Prometheus. See [Health and metrics](../operate/metrics).',
}

/** Routes of a node with every protocol, as in `ROUTES`, without HEAD and OPTIONS. */
export async function routesOfNode(): Promise<string[]> {
  const node = await startMemoryNode(EVERYTHING)
  try {
    return listed(node.app)
  } finally {
    await node.close()
  }
}

/** Reads the tree that Fastify prints: a path continues the one of the last line with less indentation. */
function listed(app: FastifyInstance): string[] {
  const found = new Set<string>()
  const parents: string[] = []
  for (const [, indent = '', piece = '', methods = ''] of app
    .printRoutes({ commonPrefix: false })
    .matchAll(/^([│ ]*)[├└]── (\S+)(?: \(([A-Z, ]+)\))?/gm)) {
    const depth = indent.length / 4
    parents.splice(depth, Number.POSITIVE_INFINITY, piece)
    const path = parents
      .join('')
      .replaceAll(/:(\w+)/g, '{$1}')
      .replace(/\/?\*$/, '/{path}')
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      if (methods.split(', ').includes(method)) found.add(`${method} ${path}`)
    }
  }
  return [...found]
}

export const documentedRoutes = Object.keys(ROUTES)

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`

function settingSection({ env, flag, shown, doc, expects }: SettingText): string {
  const usual = shown.startsWith('(') ? shown.slice(1, -1) : `\`${shown}\``
  return [
    `### ${env} {#${env.toLowerCase()}}`,
    sentence(doc),
    `- Flag: \`--${flag}\`\n- Default: ${usual}\n- Value: ${expects.replaceAll('<', '\\<')}`,
  ].join('\n\n')
}

function settingsReference(): string {
  const texts = settingTexts()
  const groups = [...new Set(texts.map(({ group }) => group))]
  return groups
    .map(group => {
      const own = texts.filter(each => each.group === group).map(settingSection)
      return [`## ${group}`, ...own].join('\n\n')
    })
    .join('\n\n')
}

function errorsReference(): string {
  return Object.entries(CODES)
    .map(([code, { status, retryable, meaning }]) => {
      const retry = retryable ? ' The same request may succeed later; `Retry-After` says when to try.' : ''
      return `### ${code} {#${code.toLowerCase()}}\n\n${status}: ${meaning}.${retry}`
    })
    .join('\n\n')
}

function routesReference(): string {
  return Object.entries(ROUTES)
    .map(
      ([route, text]) =>
        `### ${route.replaceAll(/[{}]/g, brace => `\\${brace}`)} {#${anchorOf(route)}}\n\n${text}`,
    )
    .join('\n\n')
}

function routesTable(): string {
  const rows = documentedRoutes.map(route => {
    const [method = '', path = ''] = route.split(' ')
    return `| ${method} | [\`${path}\`](#${anchorOf(route)}) |`
  })
  return ['| method | path |', '|---|---|', ...rows].join('\n')
}

/** The anchor of a route's section. */
export function anchorOf(route: string): string {
  return route
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/-$/, '')
}

/** A name in the matrix, without the transport. */
const wayOf = (name: string) => name.replace(/, (HTTP\/[\d.]+|websocket|polling)$/, '')

function waysTable(): string {
  const needs = new Map(WAYS.map(({ name, needs }) => [wayOf(name), needs]))
  const rows = Array.from(needs, ([name, need]) => `| ${name} | ${need} |`)
  return ['| way in | needs |', '|---|---|', ...rows].join('\n')
}

function accessMatrix(): string {
  const needs = [...new Set(WAYS.map(way => way.needs))]
  const cell = (expected: Expected) => (expected === 'in' ? '**in**' : `\`${REFUSALS[expected][0]}\``)
  const rows = CREDENTIALS.map(({ name, expected }) =>
    [name, ...needs.map(need => cell(typeof expected === 'function' ? expected(need) : expected))].join(
      ' | ',
    ),
  )
  return [
    `| shown | ${needs.join(' | ')} |`,
    `|---|${'---|'.repeat(needs.length)}`,
    ...rows.map(row => `| ${row} |`),
  ].join('\n')
}

/** The generated texts, by document and mark. */
export const generated = (): Readonly<Record<string, Readonly<Record<string, string>>>> => ({
  'docs/reference/settings.md': { table: settingsTable(), settings: settingsReference() },
  'docs/reference/errors.md': { table: errorTable(), errors: errorsReference() },
  'docs/reference/access-matrix.md': { ways: waysTable(), matrix: accessMatrix() },
  'docs/reference/routes.md': { table: routesTable(), routes: routesReference() },
})
