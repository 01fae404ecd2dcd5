// One memory log for several nodes, each of which may have its own feed of each channel.

import type { ChannelLog, Feed, Follower } from '../../../../services/broker/log/log.ts'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import { reservedRetention } from '../../../../services/broker/control/channels.ts'
import type { Logger } from '../../../../services/broker/logger.ts'

const OTHERS = { events: 1000, age: 3_600_000, bytes: 1024 * 1024 }

export interface Shared {
  readonly log: MemoryLog
  view(): View
}

/** A node's view of the log. While `broken` is set, `append`, `read` and `follow` raise it. */
export interface View extends ChannelLog {
  broken: Error | undefined
  /** Number of calls of `follow`. */
  follows: number
  /** Number of successful reads that reached the head. */
  reads: number
  /** Reports a gap to this view's feed of the channel, as if events were lost. */
  lose(channel: string): Promise<void>
}

export function sharedLog(now: () => number = Date.now): Shared {
  const reserved = reservedRetention()
  const retentionOf = (channel: string) => reserved(channel) ?? OTHERS
  const log = new MemoryLog({ retentionOf, idempotencyWindow: 60_000, now })
  const followers = new Map<string, Set<Follower>>()

  const join = async (channel: string, follower: Follower): Promise<Feed> => {
    let all = followers.get(channel)
    if (all === undefined) {
      all = new Set()
      followers.set(channel, all)
      const to = all
      await log.follow(channel, {
        start() {},
        begun: at => to.forEach(each => each.begun(at)),
        events: events => to.forEach(each => each.events(events)),
        gap: gap => to.forEach(each => each.gap(gap)),
        forget: () => to.forEach(each => each.forget()),
        transient: events => to.forEach(each => each.transient(events)),
      })
    }
    const { head } = await log.state(channel)
    all.add(follower)
    follower.start(head)
    return { close: () => void all.delete(follower) }
  }

  const view = (): View => {
    const feeds = new Map<string, Follower>()
    const check = () => {
      if (self.broken) throw self.broken
    }
    const self: View = {
      engine: 'memory',
      broken: undefined,
      follows: 0,
      reads: 0,
      async append(channel, drafts) {
        check()
        return log.append(channel, drafts)
      },
      async read(channel, after, limit) {
        check()
        const page = await log.read(channel, after, limit)
        if (!page.more) self.reads++
        return page
      },
      state: channel => log.state(channel),
      relay: (channel, drafts) => log.relay(channel, drafts),
      erase: (channel, event) => log.erase(channel, event),
      clear: channel => log.clear(channel),
      async follow(channel, follower) {
        self.follows++
        check()
        if (feeds.has(channel)) throw new Error(`channel ${channel} has a feed already`)
        feeds.set(channel, follower)
        const feed = await join(channel, follower)
        return {
          close() {
            feeds.delete(channel)
            feed.close()
          },
        }
      },
      async lose(channel) {
        const { head } = await log.state(channel)
        feeds.get(channel)?.gap({ from: head, to: { ...head, epoch: 'another' } })
      },
      probe: () => log.probe(),
      async open() {},
      async close() {},
    }
    return self
  }
  return { log, view }
}

export const silent: Logger = { debug() {}, info() {}, warn() {} }
