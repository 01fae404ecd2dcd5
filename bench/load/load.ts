// A load process: clients of one or several orders that count deliveries. Controlled by a Crew through calls.

import { type Address, addressOf } from './address.ts'
import { now } from './marker.ts'
import type { Connected, LoadOrder, PublishingOrder, Tally } from './order.ts'
import { publishing } from './publishing.ts'
import { serve } from './remote.ts'
import { Scanner } from './scan.ts'
import { Askers, AskingFollower } from './wires/asking.ts'
import { Account, type Follower } from './wires/follower.ts'
import { followerOf } from './wires/index.ts'

/** One process's share: every `of`th client of the order, starting with number `nth`. */
export interface Share {
  readonly order: LoadOrder
  readonly nth: number
  readonly of: number
}

/** Concurrent connection attempts if all clients may connect at once. */
const CONNECTING = 128
/** Ms between two checks. */
const LOOK = 5

const account = new Account()
const followers: Follower[] = []
const runs: Askers[] = []
let cpuAtBegin = process.cpuUsage()
let beganAt = now()

/** Returns when each client is connected or has failed at its first attempt. */
async function connect({ order, nth, of }: Share): Promise<Connected> {
  const address = addressOf(order.target)
  let opened = 0
  let failed = 0
  let reason = ''
  let onChange = () => {}
  const own: Follower[] = []
  for (let i = nth; i < order.clients; i += of) {
    const begun = {
      opened: () => {
        opened++
        onChange()
      },
      failed: (why: string) => {
        failed++
        reason = why
        onChange()
      },
    }
    const scanner = new Scanner(account.latency)
    if (order.after !== undefined) scanner.last = order.after
    const channel = order.channels[i % order.channels.length] ?? ''
    own.push(
      followerOf(order.wire, { order, address, channel, phase: i / order.clients, scanner, account, begun }),
    )
  }
  followers.push(...own)
  employ(own, order, address)
  const from = now()
  await new Promise<void>(resolve => {
    let next = 0
    const go = () => {
      const due = order.rampUp === 0 ? 1 : (now() - from) / (order.rampUp * 1e6)
      const most = Math.min(own.length * due, opened + failed + CONNECTING)
      for (; next < most && next < own.length; next++) own[next]?.start()
      if (opened + failed < own.length) return
      clearInterval(timer)
      resolve()
    }
    const timer = setInterval(go, LOOK)
    onChange = go
    go()
  })
  return { opened, failed, reason }
}

function employ(own: readonly Follower[], order: LoadOrder, address: Address): void {
  const asking = own.filter(each => each instanceof AskingFollower)
  if (asking.length > 0) runs.push(new Askers(asking, { order, address }))
}

function begin(): void {
  account.clear()
  for (const { scanner, traffic } of followers) {
    scanner.clear()
    traffic.clear()
  }
  cpuAtBegin = process.cpuUsage()
  beganAt = now()
}

/** True when every client has received the event `upto` and misses none; false at `deadline`, µs. */
async function settle({ upto, deadline }: { upto: number; deadline: number }): Promise<boolean> {
  for (;;) {
    if (followers.every(({ scanner }) => scanner.last >= upto && scanner.missing === 0)) return true
    if (now() >= deadline) return false
    await new Promise(resolve => setTimeout(resolve, LOOK))
  }
}

function tally(): Tally {
  const sum = { received: 0, missing: 0, repeated: 0, reordered: 0, bytesIn: 0, bytesOut: 0, open: 0 }
  let lastAt = 0
  for (const { scanner, traffic, isOpen, lastAt: at } of followers) {
    sum.received += scanner.received
    sum.missing += scanner.missing
    sum.repeated += scanner.repeated
    sum.reordered += scanner.reordered
    sum.bytesIn += traffic.in
    sum.bytesOut += traffic.out
    if (isOpen) sum.open++
    if (at > lastAt) lastAt = at
  }
  const { user, system } = process.cpuUsage(cpuAtBegin)
  const { gaps, requests, empty, cut, resumed } = account
  return {
    ...sum,
    clients: followers.length,
    gaps,
    requests,
    empty,
    cut,
    resumed,
    errors: Object.fromEntries(account.errors),
    lastAt,
    latency: account.latency.entries(),
    answering: account.answering.entries(),
    cpu: (user + system) / (now() - beganAt),
  }
}

export const loadMethods = {
  connect,
  begin,
  settle,
  tally,
  publishing: (order: PublishingOrder) => publishing(order),
}

export type LoadMethods = typeof loadMethods

serve(loadMethods)
