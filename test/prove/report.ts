// Writes the document page on lost events per client.

import type { Result } from './run.ts'

const number = (value: number) => value.toLocaleString('en')

function row(result: Result, servers: boolean): string {
  const cells = [
    result.name,
    servers ? 'network and servers' : 'network',
    ...[result.cuts, result.published, result.delivered].map(number),
    ...[result.missing, result.repeated, result.reordered, result.told, result.stuck].map(number),
  ]
  return `| ${cells.join(' | ')} |`
}

export const disturbsServers = ({ happened }: Result) =>
  Object.keys(happened).some(what => /^(node|server) /.test(what))

const OPTIONS: Readonly<Record<string, string>> = {
  'fanwire/client': 'fanwire',
  'centrifuge-js': 'centrifuge',
  'socket.io-client': 'socket.io',
}

const systemsOf = (results: readonly Result[]) =>
  [...new Set(results.map(({ name }) => OPTIONS[name] ?? name))].join()

export function pageOf(results: readonly Result[]): string {
  const [first] = results
  if (first === undefined) return ''
  return `# What clients lose

Written by \`npm run prove -- --seed ${first.seed} --minutes ${first.seconds / 60} --systems ${systemsOf(results)} --write\`.

A run counts what the clients of three systems miss, and see twice, while their connections are cut. Each reader is behind a separate proxy,
which cuts every connection after a random number of bytes, and at times blocks WebSocket, buffers streams, refuses connections, or cuts them
by age. In the rows with servers, nodes are also killed and drained, or the server is restarted, again and again. Events are numbers, so each
reader knows which ones it missed.

| client | faults of | cuts | events published | deliveries | missing | repeated | reordered | reported as lost | readers stuck |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
${results.map(result => row(result, disturbsServers(result))).join('\n')}

- **missing**: never delivered, and the client was not notified. **reported as lost**: never delivered, but the client was notified: by fanwire's
  gap, a subscription of Centrifugo's client that is not \`recovered\`, or a session of Socket.IO that is not.
- **fanwire**: two nodes with their log in Redis, and a channel that keeps only 40 events, so that readers which are away fall behind. Its
  tokens expire; its readers use all wires, reload, and change wires; four of them share a connection, as tabs do. Its publisher is behind such a
  proxy too.
- **Centrifugo**: two servers on its library with history in Redis (10,000 events); its client over WebSocket with recovery.
- **Socket.IO**: one server with connection state recovery (two minutes), the default in-memory adapter. A restart forgets its sessions.
  - It repeats events: the server sends the missed events before the packet that confirms the session, and the client (4.8.4) holds them until
    then. If the connection is cut in between, the next connection brings them again, and the client delivers all copies.
  - It stops delivering: if a client reconnects before the server has noticed that the old connection is gone, the end of the old one empties the
    rooms of both, since they have the same id. The client is connected, reports \`recovered\`, and receives nothing until the next cut.
`
}
