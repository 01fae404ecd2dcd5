// Publishes one event per request as fast as requests are answered, with autocannon. Each connection has its own
// channel.

import autocannon from 'autocannon'
import { addressOf, Traffic } from './address.ts'
import { Histogram } from './histogram.ts'
import { now, payload } from './marker.ts'
import type { PublishingTally, PublishingOrder } from './order.ts'
import { Account, reasonOf } from './wires/follower.ts'

const CREATED = 201
/** Seconds for the last responses. */
const ANSWER_TIMEOUT_S = 10

export async function publishing(order: PublishingOrder): Promise<PublishingTally> {
  const { target, key, connections, seconds, size } = order
  const address = addressOf(target)
  const account = new Account()
  const answering = new Histogram()
  const traffics: Traffic[] = []
  const began = now()
  const cpu = process.cpuUsage()
  const until = began + seconds * 1e6
  let requests = 0
  let over = () => {}
  let running = connections
  const ended = new Promise<void>(resolve => {
    over = resolve
  })
  const run = autocannon({
    url: `${address.tls === undefined ? 'http' : 'https'}://${address.authority}`,
    connections,
    duration: seconds + ANSWER_TIMEOUT_S,
    timeout: ANSWER_TIMEOUT_S,
    setupClient(client) {
      const path = `${address.prefix}/v1/channels/${order.channel}-${traffics.length}/events`
      const headers = {
        ...address.headers,
        'Content-Type': 'application/json',
        ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }),
      }
      const traffic = new Traffic()
      traffics.push(traffic)
      let sequence = 0
      let askedAt = began
      const prepare = () => {
        const body = payload(++sequence, now(), size)
        client.setRequests([{ method: 'POST', path, headers, body, onResponse }])
      }
      const onResponse = (status: number) => {
        const at = now()
        if (at > until) {
          // This connection sends nothing more.
          client.rate = 1
          client.reqsMadeThisSecond = 1
          if (--running === 0) over()
          return
        }
        requests++
        if (status === CREATED) answering.add(at - askedAt)
        else account.wrong(`HTTP/1.1 ${status}`)
        askedAt = at
        traffic.use(client.conn)
        prepare()
      }
      client.on('connError', (error: Error) => account.wrong(reasonOf(error)))
      client.on('timeout', () => account.wrong('timeout'))
      prepare()
    },
  })
  run.then(() => over())
  await ended
  run.stop()
  const { user, system } = process.cpuUsage(cpu)
  const took = (Math.min(now(), until) - began) / 1e6
  return {
    requests,
    requestsPerSecond: requests / took,
    answering: answering.entries(),
    bytesIn: traffics.reduce((sum, each) => sum + each.in, 0),
    bytesOut: traffics.reduce((sum, each) => sum + each.out, 0),
    errors: Object.fromEntries(account.errors),
    cpu: (user + system) / (now() - began),
  }
}
