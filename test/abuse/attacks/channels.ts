// S5 and idle channels: clients without credentials make the node follow many channels.

import type { Attack } from '../attack.ts'
import { again, ending, paced, pump } from '../raw.ts'
import { openWs, texts } from '../ws.ts'

const CLIENTS = 4

export const newChannels: Attack = {
  name: 'new-channels',
  title: `S5: ${CLIENTS} ws connections subscribe to ever new channels of a node that may follow 50,000`,
  rate: 'as fast as the node takes them',
  // The node keeps unread channels as long as it does by default.
  needs: { env: { FANWIRE_LINGER: '10s' } },
  async attack({ port }, signal) {
    let subscriptions = 0
    await again(CLIENTS, signal, async i => {
      const socket = await openWs(port)
      if (socket === undefined) return
      const run = `${i}.${subscriptions}`
      await pump(socket, signal, n => {
        subscriptions += 50
        const commands = Array.from({ length: 50 }, (_, each) => `${run}.${n}.${each}`).flatMap(name => [
          `{"subscribe":"new.${name}"}`,
          `{"unsubscribe":"new.${name}"}`,
        ])
        return texts(...commands)
      })
      socket.destroy()
    })
    return { did: { subscriptions } }
  },
}

/** A query of channels that no other client names. */
function queryOf(client: number, channels: number): string {
  return Array.from({ length: channels }, (_, i) => `channel=held.${client}.${i}`).join('&')
}

const MANY = 520

export const everyChannel: Attack = {
  name: 'every-channel',
  title: `S5: ${MANY} ws connections follow 100 channels each; others' polls must be answered`,
  rate: `${MANY} within the first half`,
  visitors: 'served',
  async attack({ port }, signal) {
    const opened = await paced(150, signal, async i => openWs(port, `/v1/ws?${queryOf(i, 100)}`), MANY)
    await ending(signal)
    return { did: { opened } }
  },
}

const IDLE = 1000

export const idleChannels: Attack = {
  name: 'idle-channels',
  title: '100,000 idle channels, 100 on each of 1,000 ws connections',
  rate: '125 connections a second',
  needs: { env: { FANWIRE_MAX_FOLLOWED: '120000' } },
  async attack({ port }, signal) {
    let opened = 0
    await paced(
      125,
      signal,
      async i => {
        if ((await openWs(port, `/v1/ws?${queryOf(i, 100)}`)) !== undefined) opened++
      },
      IDLE,
    )
    await ending(signal)
    return { did: { opened, channels: 100 * opened } }
  },
}
