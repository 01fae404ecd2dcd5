// Every route of a node is requested without credentials and must reject that, except the public ones.

import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { startMemoryNode } from '../contract/node.ts'
import { documentedRoutes, routesOfNode } from '../docs/reference.ts'
import { ClosedWorld } from '../support/closed-node.ts'

/** Public routes, each with the reason. */
const ANYBODY: Readonly<Record<string, string>> = {
  'GET /healthz': 'load balancers have no credentials, and it reports only that the process lives',
  'GET /readyz': 'the same; it reveals nothing about channels, users or clients',
  'GET /': 'it lists the pages, and nothing else',
  'GET /console': 'files of the package; the page requests its data with the token of its user',
  'GET /console/console.js': 'the same',
  'GET /console/console.css': 'the same',
  'GET /console/icon.svg': 'the same',
  'GET /docs': 'it describes the routes; FANWIRE_DOCS=0 removes it',
  'GET /docs/reference.js': 'the script of that page',
  'GET /client.js': 'the browser client, which a page loads before it has a token',
  'GET /client.global.js': 'the same for a plain script',
  'GET /openapi.json': 'the same for programs; it reveals nothing about channels, users or clients',
  'GET /socket.io/': 'a session begins anonymously; the access matrix tests its commands',
  'GET /connection/websocket': 'a client authenticates in its first message',
  'POST /connection/http_stream': 'the same',
  'GET /connection/sse': 'the same',
  'GET /connection/uni_websocket': 'the same',
  'POST /connection/uni_http_stream': 'the same',
  'GET /connection/uni_sse': 'the same',
  'POST /connection/uni_sse': 'the same',
  'POST /emulation': 'a session id is a credential',
  'GET /app/{key}': 'a client subscribes in messages; each subscription is authorised',
  'POST /socket.io/': 'a session id is a credential, and an invented one is rejected',
}

/** By path, the query that makes a request valid; then the values of the parameters in paths. */
const QUERIES: Readonly<Record<string, string>> = {
  '/v1/poll': '?channel=room:1',
  '/v1/long-poll': '?channel=room:1&wait=1',
  '/v1/sse': '?channel=room:1',
  '/v1/stream': '?channel=room:1',
  '/v1/push': '?channel=room:1',
  '/v1/refresh': '?channel=room:1',
  '/v1/ws': '?channel=room:1',
  '/.well-known/mercure': '?match=room:1',
}
const PARAMETERS: Readonly<Record<string, string>> = {
  channel: 'room:1',
  path: 'room:1',
  id: 'a-1',
  user: 'ann',
}

/** Valid bodies: of publishes, and of an update of Mercure. */
const EVENTS = {
  headers: { 'content-type': 'application/json' },
  body: '{"events":[{"channel":"room:1","data":1}]}',
}

const UPDATE = { body: new URLSearchParams({ topic: 'room:1', data: '1' }) }

function targetOf(path: string): string {
  const known = path.replace('/apps/{id}', '/apps/app')
  const filled = known.replaceAll(/\{(\w+)\}/g, (_, name: string) => PARAMETERS[name] ?? name)
  return filled + (QUERIES[path] ?? '')
}

t.test('every route authorises its request, except the public ones', async t => {
  const world = new ClosedWorld()
  const node = await startMemoryNode(world.settings)
  t.teardown(() => node.close())
  const routes = await routesOfNode()
  t.ok(routes.length > 15)
  t.strictSame([...documentedRoutes].sort(), [...routes].sort())
  for (const route of Object.keys(ANYBODY)) t.ok(routes.includes(route), `${route} is a route`)
  for (const route of routes) {
    const [method = '', path = ''] = route.split(' ')
    const answer = await fetch(`http://127.0.0.1:${node.port}${targetOf(path)}`, {
      method,
      ...(method === 'POST' && path.endsWith('/events') && EVENTS),
      ...(method === 'POST' && path === '/.well-known/mercure' && UPDATE),
    })
    const text = await answer.text()
    if (route in ANYBODY) {
      t.notMatch(text, /"code":"FW_UNAUTHORIZED"/, `${route}: ${ANYBODY[route]}`)
      continue
    }
    t.equal(answer.status, 401, route)
    t.equal(answer.headers.get('www-authenticate'), 'Bearer realm="fanwire"', route)
    t.match(JSON.parse(text), { error: { code: 'FW_UNAUTHORIZED' } }, route)
  }
  t.equal((await node.log.state('room:1')).count, 0, 'nothing was published')
})

t.test('every route authorises before it validates the body', async t => {
  const world = new ClosedWorld()
  // These rules have no channel to which anyone may publish, so a node need not read the body to reject it.
  world.writeRules('channels: [{ match: "room:*", subscribe: token, publish: token }]')
  const node = await startMemoryNode(world.settings)
  t.teardown(() => node.close())
  const bodies = [
    { 'content-type': 'application/json' },
    { 'content-type': 'what/ever' },
    { 'content-type': 'application/json', 'content-encoding': 'gzip' },
  ]
  for (const route of (await routesOfNode()).filter(each => each.startsWith('POST '))) {
    if (route in ANYBODY) continue
    const [, path = ''] = route.split(' ')
    for (const headers of bodies) {
      const url = `http://127.0.0.1:${node.port}${targetOf(path)}`
      const answer = await fetch(url, {
        method: 'POST',
        headers: new Headers(Object.entries(headers)),
        body: '{"x":',
      })
      t.equal(answer.status, 401, `${route} ${JSON.stringify(headers)}`)
      await answer.body?.cancel()
    }
  }
})

t.test('a WebSocket handshake is authorised too', async t => {
  const node = await startMemoryNode(new ClosedWorld().settings)
  t.teardown(() => node.close())
  const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=room:1`)
  const [, answer] = await once(client, 'unexpected-response')
  t.equal(answer.statusCode, 401)
  answer.destroy()
})
