// Connections that send nothing, or almost nothing.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Attack } from '../attack.ts'
import { ending, getting, open, paced } from '../raw.ts'

const SILENT = 5000

export const silentConnections: Attack = {
  name: 'silent-connections',
  title: `${SILENT.toLocaleString('en')} connections that send nothing`,
  rate: '1,000 connections a second',
  async attack({ port }, signal) {
    let opened = 0
    const count = async () => {
      if ((await open(port)) !== undefined) opened++
    }
    await paced(1000, signal, count, SILENT)
    await ending(signal)
    return { did: { opened } }
  },
}

const HALF_CLOSED = 5000

export const halfClosed: Attack = {
  name: 'half-closed',
  title: `${HALF_CLOSED.toLocaleString('en')} long polls of clients that close their side behind the request`,
  rate: '625 connections a second',
  async attack({ port }, signal) {
    let opened = 0
    const poll = async () => {
      const socket = await open(port)
      socket?.end(getting('/v1/long-poll?channel=held&wait=55'))
      if (socket !== undefined) opened++
    }
    await paced(625, signal, poll, HALF_CLOSED)
    await ending(signal)
    return { did: { opened } }
  },
}

const UNREAD = 1000

export const unreadStreams: Attack = {
  name: 'unread-streams',
  title: `${UNREAD.toLocaleString('en')} sse clients of the good clients' channel that read nothing`,
  rate: '250 connections a second',
  async attack({ port, channel }, signal) {
    let [opened, ended] = [0, 0]
    const follow = async () => {
      const socket = await open(port)
      if (socket === undefined) return
      opened++
      socket.once('close', () => ended++)
      socket.pause().write(getting(`/v1/sse?channel=${channel}`))
    }
    await paced(250, signal, follow, UNREAD)
    await ending(signal)
    return { did: { opened, ended } }
  },
}

const SLOW = 1000
const EVERY = 1000

/** Connections that begin with `head` and then send a byte a second. */
async function drip(port: number, signal: AbortSignal, head: string) {
  let [opened, ended] = [0, 0]
  await paced(
    500,
    signal,
    async () => {
      const socket = await open(port)
      if (socket === undefined) return
      opened++
      socket.once('close', () => ended++)
      socket.write(head)
      while (socket.writable && !signal.aborted) {
        await sleep(EVERY, undefined, { signal }).catch(() => {})
        if (socket.writable) socket.write('a')
      }
    },
    SLOW,
  )
  await ending(signal)
  return { did: { opened, ended } }
}

export const slowHeads: Attack = {
  name: 'slow-heads',
  title: `${SLOW.toLocaleString('en')} clients whose request head comes a byte a second`,
  rate: '500 connections a second',
  attack: ({ port }, signal) =>
    drip(port, signal, 'GET /v1/poll?channel=a HTTP/1.1\r\nHost: 127.0.0.1\r\nX: '),
}

export const slowBodies: Attack = {
  name: 'slow-bodies',
  title: `${SLOW.toLocaleString('en')} clients whose publish comes a byte a second`,
  rate: '500 connections a second',
  attack: ({ port }, signal) =>
    drip(
      port,
      signal,
      'POST /v1/channels/slow/events HTTP/1.1\r\nHost: 127.0.0.1\r\n' +
        'Content-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n',
    ),
}
