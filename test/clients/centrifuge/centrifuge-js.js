// centrifuge-js as a program: see program.ts.

import { createInterface } from 'node:readline'
import { Centrifuge as InJson } from 'centrifuge'
import { Centrifuge as InProtobuf } from 'centrifuge/build/protobuf'
import { WebSocket } from 'ws'

const { url, tokens, protobuf = false } = JSON.parse(process.argv[2])
const Centrifuge = protobuf ? InProtobuf : InJson

const say = (event, more) => console.log(JSON.stringify({ event, ...more }))
const encoded = data => (protobuf ? Buffer.from(JSON.stringify(data)) : data)
const decoded = data => (protobuf ? JSON.parse(Buffer.from(data).toString()) : data)

/** Gives one token after another, and reports each request for one. */
const nextToken = (left, channel) => async () => {
  say('token', { channel })
  return left.shift() ?? ''
}

const client = new Centrifuge(url, {
  websocket: WebSocket,
  token: tokens.shift(),
  getToken: nextToken(tokens, ''),
  minReconnectDelay: 20,
  maxReconnectDelay: 200,
})
client.on('connecting', ({ code }) => say('connecting', { code }))
client.on('connected', () => say('connected'))
client.on('disconnected', ({ code }) => say('disconnected', { code }))

const ORDERS = {
  connect: () => client.connect(),
  subscribe({ channel, tokens = [], joinLeave = false }) {
    const token = tokens.length > 0 ? { token: tokens.shift(), getToken: nextToken(tokens, channel) } : {}
    const delays = { minResubscribeDelay: 20, maxResubscribeDelay: 200 }
    const options = { positioned: true, recoverable: true, joinLeave, ...delays, ...token }
    const sub = client.newSubscription(channel, options)
    sub.on('subscribed', ({ wasRecovering, recovered }) =>
      say('subscribed', { channel, wasRecovering, recovered }),
    )
    sub.on('unsubscribed', ({ code }) => say('unsubscribed', { channel, code }))
    sub.on('publication', ({ data }) => say('publication', { channel, data: decoded(data) }))
    sub.on('join', ({ info }) => say('join', { channel, user: info.user }))
    sub.on('leave', ({ info }) => say('leave', { channel, user: info.user }))
    sub.subscribe()
  },
  async publish({ channel, data }) {
    await client.publish(channel, encoded(data))
  },
  async history({ channel }) {
    const { publications } = await client.history(channel, { limit: 100 })
    return publications.map(({ data }) => decoded(data))
  },
  async presence({ channel }) {
    const { clients } = await client.presence(channel)
    return Object.values(clients).map(({ user }) => user)
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  try {
    say('result', { of: order.do, value: await ORDERS[order.do](order) })
  } catch ({ code = 0, message }) {
    say('error', { of: order.do, code, message })
  }
}
process.exit()
