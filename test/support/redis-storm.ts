// Appends and feeds that continue during faults of Redis, and their invariants afterwards:
// ARCHITECTURE.md#the-logs-promises and ARCHITECTURE.md#what-must-survive.

import type { Test } from 'tap'
import { type ChannelLog, LogUnavailable } from '../../services/broker/log/log.ts'
import type { Position } from '../../services/broker/event/position.ts'
import { printPosition } from '../../services/broker/event/position.ts'
import { append, dataOf, draft, type Recorder, record } from '../contract/log.ts'
import { until } from './until.ts'

export interface Storm {
  /** Positions and values that the log has confirmed. */
  readonly held: readonly { readonly channel: string; readonly position: Position; readonly value: number }[]
  /** The errors of rejected appends. */
  readonly refused: readonly string[]
  /** Returns once this many more appends were confirmed on every channel. */
  more(count: number): Promise<void>
  /** Returns once an append that began after the call was rejected. */
  refusal(): Promise<void>
  /** Waits until every feed has all events, and checks all of them. */
  end(): Promise<readonly Recorder[]>
}

/** Each log follows and appends to each channel; each value, from 1 on, is retried until it is stored. */
export async function storm(
  t: Test,
  logs: readonly ChannelLog[],
  channels: readonly string[],
): Promise<Storm> {
  const held: Storm['held'][number][] = []
  const refused: string[] = []
  const counts = new Map(channels.map(channel => [channel, 0]))
  const feeds = await Promise.all(
    channels.flatMap(channel => logs.map(async log => ({ channel, recorder: await record(log, channel) }))),
  )
  let ending = false
  t.teardown(() => {
    ending = true
  })
  let value = 0

  async function publish(log: ChannelLog, channel: string): Promise<void> {
    while (!ending) {
      const mine = ++value
      for (;;) {
        try {
          const position = await append(log, channel, [draft(mine, { idempotencyKey: `k${mine}` })])
          held.push({ channel, position, value: mine })
          counts.set(channel, (counts.get(channel) ?? 0) + 1)
          break
        } catch (error) {
          if (!(error instanceof LogUnavailable)) t.fail(`refused with ${error}`)
          refused.push(`${error}`)
          await new Promise(resolve => setTimeout(resolve, 20))
        }
      }
      await new Promise(resolve => setTimeout(resolve, 4))
    }
  }
  const publishers = channels.flatMap(channel => logs.map(log => publish(log, channel)))

  function check({ channel, recorder }: { channel: string; recorder: Recorder }): void {
    t.same(recorder.faults, [], channel)
    const delivered = new Set(recorder.delivered.map(printPosition))
    const lost = held.filter(({ channel: of, position: { epoch, offset } }) => {
      if (of !== channel || delivered.has(printPosition({ epoch, offset }))) return false
      return !recorder.gaps.some(
        ({ from, to }) =>
          (epoch === from.epoch && offset > from.offset) || (epoch === to.epoch && offset <= to.offset),
      )
    })
    t.same(lost, [], `${channel}: stored events are delivered, or inside a reported gap`)
    let since = new Set<unknown>()
    for (const each of recorder.received) {
      if ('from' in each) since = new Set()
      else if (since.has(dataOf(each)) && dataOf(each) !== -1)
        t.fail(`${channel}: ${dataOf(each)} is delivered twice`)
      else since.add(dataOf(each))
    }
  }

  return {
    held,
    refused,
    async more(count) {
      const goals = [...counts].map(([channel, before]) => [channel, before + count] as const)
      const done = () => goals.every(([channel, goal]) => (counts.get(channel) ?? 0) >= goal)
      await until('enough appends are confirmed', done)
    },
    async refusal() {
      const before = refused.length
      await until('an append is refused', () => refused.length > before + channels.length * logs.length)
    },
    async end() {
      ending = true
      await Promise.all(publishers)
      for (const { channel, recorder } of feeds) {
        const { head } = await (logs[0] as ChannelLog).state(channel)
        await recorder.reaches(head)
      }
      for (const feed of feeds) check(feed)
      const meanings = new Map(held.map(each => [each.channel + printPosition(each.position), each.value]))
      for (const { channel, recorder } of feeds) {
        for (const event of recorder.delivered) {
          const name = channel + printPosition(event)
          const value = dataOf(event) as number
          if ((meanings.get(name) ?? value) !== value)
            t.fail(`${name} means ${meanings.get(name)} and ${value}`)
          meanings.set(name, value)
        }
        recorder.feed?.close()
      }
      return feeds.map(feed => feed.recorder)
    },
  }
}
