// Claims about wires that hold a connection open: SSE, streaming, WebSocket, Socket.IO, HTTP/2 push.

import type { CellResult } from '../result.ts'
import {
  beside,
  dearer,
  type Evidence,
  faster,
  LONG_POLL,
  merged,
  noWorse,
  type Sign,
  SSE,
  STREAM,
  WS,
} from './evidence.ts'
import { short, times, whole } from './print.ts'
import { bytesPerDelivery, together, type Want } from './select.ts'

const PUSH: Want = { wire: 'push' }
const SOCKET_IO: Want = { wire: 'socket.io' }

export function streamsKeepUp(cells: readonly CellResult[]): Evidence {
  return merged(...[SSE, STREAM].map(own => beside(cells, own, WS, (a, b) => noWorse(faster(a, b)))))
}

/** Supported if lower than each of the others; undecided if one of them is indistinguishable. */
export function webSocketIsFastest(cells: readonly CellResult[]): Evidence {
  const others = [SSE, STREAM, LONG_POLL, PUSH].map(other => beside(cells, WS, other, faster))
  const measured = others.filter(({ signs }) => signs.length > 0)
  const signs = measured.map((each): Sign => {
    if (each.signs.includes('against')) return 'against'
    return each.signs.includes('for') ? 'for' : 'tie'
  })
  const worst = (['against', 'tie', 'for'] as const).filter(sign => signs.includes(sign)).slice(0, 1)
  return { signs: worst, figures: merged(...measured).figures }
}

export function socketIoIsFree(cells: readonly CellResult[]): Evidence {
  const costs = (of: (cell: CellResult) => number | undefined) => (a: CellResult, b: CellResult) => {
    const [own, plain] = [of(a), of(b)]
    return own === undefined || plain === undefined ? 'tie' : noWorse(dearer(plain, own))
  }
  const running = merged(
    beside(
      cells,
      SOCKET_IO,
      WS,
      costs(each => each.cpuPerDelivery),
    ),
    beside(cells, SOCKET_IO, WS, costs(bytesPerDelivery)),
  )
  const pairs = together(cells, SOCKET_IO, WS).flatMap(({ clients, cells: [own, plain] }) =>
    own?.residentPerClient !== undefined && plain?.residentPerClient !== undefined
      ? [{ clients, own: own.residentPerClient, plain: plain.residentPerClient }]
      : [],
  )
  // With more clients, a larger share of the memory belongs to clients.
  const [most] = pairs.toSorted((a, b) => b.clients - a.clients)
  if (most === undefined) return running
  const { clients, own, plain } = most
  return merged(running, {
    signs: [noWorse(dearer(plain, own))],
    figures: [
      `${whole(clients)} clients: ${short(own)} KB a client, ws ${short(plain)} KB: ${times(own, plain)}`,
    ],
  })
}

export function pushIsFaster(cells: readonly CellResult[]): Evidence {
  return merged(...[SSE, STREAM].map(other => beside(cells, PUSH, other, faster)))
}
