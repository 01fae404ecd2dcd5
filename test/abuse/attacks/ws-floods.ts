// S4: small messages from few connections keep the event loop busy.

import type { Attack } from '../attack.ts'
import { again, pump } from '../raw.ts'
import { frame, openWs, TEXT, texts } from '../ws.ts'

const EXTENT = 'as fast as the node takes them'

/** Opens connections that each send results of `next` until the end. `count`: messages in one result. */
async function flood(
  port: number,
  signal: AbortSignal,
  connections: number,
  count: number,
  next: (connection: number, n: number) => Buffer,
) {
  let messages = 0
  let ends = -connections
  await again(connections, signal, async i => {
    const socket = await openWs(port)
    if (socket !== undefined) messages += count * (await pump(socket, signal, n => next(i, n)))
    socket?.destroy()
    ends++
  })
  return { did: { messages, 'connections ended': Math.max(0, ends) } }
}

const PINGS = Buffer.concat(Array(200).fill(frame(TEXT, '{"ping":true}')))

export const pings: Attack = {
  name: 'pings',
  title: 'S4: `{"ping":true}` from one ws connection',
  rate: EXTENT,
  attack: ({ port }, signal) => flood(port, signal, 1, 200, () => PINGS),
}

const MALFORMED = Buffer.concat(Array(200).fill(frame(TEXT, '{"ping')))

export const malformedTexts: Attack = {
  name: 'malformed-texts',
  title: 'S4: text that is no JSON from one ws connection',
  rate: EXTENT,
  attack: ({ port }, signal) => flood(port, signal, 1, 200, () => MALFORMED),
}

export const subscriptions: Attack = {
  name: 'subscriptions',
  title: 'S4: subscribe and unsubscribe from four ws connections',
  rate: EXTENT,
  attack({ port }, signal) {
    const commands = Array.from({ length: 4 }, (_, i) => {
      const pair = texts(`{"subscribe":"own.${i}"}`, `{"unsubscribe":"own.${i}"}`)
      return Buffer.concat(Array(50).fill(pair))
    })
    return flood(port, signal, 4, 100, i => commands[i] ?? PINGS)
  },
}

export const unknownCursors: Attack = {
  name: 'unknown-cursors',
  title: 'S4: subscribe with an unknown cursor, and unsubscribe, from one ws connection, the log in Redis',
  rate: EXTENT,
  needs: { redis: [] },
  attack({ port, channel }, signal) {
    const pair = texts(
      `{"subscribe":"${channel}","cursor":"zzzzzz-7"}`,
      `{"unsubscribe":"${channel}"}`,
      '{"subscribe":"other","cursor":"zzzzzz-7"}',
      '{"unsubscribe":"other"}',
    )
    const commands = Buffer.concat(Array(50).fill(pair))
    return flood(port, signal, 1, 200, () => commands)
  },
}
