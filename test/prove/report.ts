// The page of the documents on what clients lose.

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

export function pageOf(results: readonly Result[]): string {
  const [first] = results
  if (first === undefined) return ''
  return `# What clients lose

Written by \`npm run prove -- --seed ${first.seed} --minutes ${first.seconds / 60} --readers ${first.readers} --write\`.

Each reader is behind a proxy of its own, which cuts every connection after a random number of bytes, and at times blocks WebSocket,
buffers streams, refuses connections, or cuts them by age. Readers reload, change wires, and close tabs. In the rows with servers, nodes
are killed and drained, or the server is restarted, all the time. Tokens expire. Events are numbers, so each reader knows what it
missed.

| client | faults of | cuts | events published | deliveries | missing | repeated | reordered | lost, and told | readers stuck |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
${results.map(result => row(result, disturbsServers(result))).join('\n')}

- **missing**: never delivered, and nobody said so. **lost, and told**: never delivered, behind a notice: fanwire's gap, or a session of
  Socket.IO that was not recovered (\`socket.recovered\` is false).
- fanwire: two nodes with their log in Redis, and a channel that keeps only 40 events, so that readers which are away fall behind. Its
  readers use all wires; four of them share a connection, as tabs do.
- Socket.IO: one server with connection state recovery (two minutes), the default in-memory adapter.
`
}
