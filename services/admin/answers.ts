// This node's answers to questions to all nodes.

import { randomBytes } from 'node:crypto'
import { ANONYMOUS } from '../broker/access/identity.ts'
import type { QuestionTypes } from '../broker/control/questions.ts'
import { printPosition } from '../broker/event/position.ts'
import type { Channel } from '../broker/fanout/channel.ts'
import { matches } from '../broker/rules/patterns.ts'
import type { Client, Held } from '../http/clients.ts'
import type { Context } from '../http/context.ts'

/** Rates are measured over this many ms. */
const RATE_MS = 10_000

type Listed = Pick<Client, 'id' | 'held' | 'identity'> & Partial<Pick<Client, 'since'>>

/** If everybody may do everything, nothing is stored about clients, so ids are created for the list. */
const ids = new WeakMap<Held, string>()

function idOf(held: Held): string {
  const id = ids.get(held) ?? randomBytes(12).toString('base64url')
  ids.set(held, id)
  return id
}

/** Ids are created on first use. */
function* listed({ access, clients, hub }: Context): Generator<Listed> {
  if (!access.isOpen) return yield* clients
  for (const held of hub.connections) {
    yield {
      held,
      identity: ANONYMOUS,
      get id() {
        return idOf(held)
      },
    }
  }
}

const sinceOf = ({ since }: Listed) => (since === undefined ? {} : { since })

function connectionItem(each: Listed): QuestionTypes['connections']['item'] {
  const { identity, held } = each
  return {
    user: identity.user,
    ...(identity.key === undefined ? {} : { key: identity.key }),
    wire: held.wire,
    ...sinceOf(each),
    channels: held.channels,
  }
}

function readerItem(each: Listed, channel: string): QuestionTypes['readers']['item'] {
  const { held, identity } = each
  const position = held.positionIn(channel)
  const read = held.readIn?.(channel)
  return {
    user: identity.user,
    wire: held.wire,
    ...sinceOf(each),
    ...(position === undefined ? {} : { position: printPosition(position) }),
    ...(read === undefined ? {} : { from: printPosition(read.from), selects: read.selects }),
    blocked: held.blocked === true,
  }
}

function channelItem({ members, recent }: Channel): QuestionTypes['channels']['item'] {
  return {
    readers: members.length,
    head: printPosition({ epoch: recent.epoch, offset: recent.head }),
    rate: (recent.countSince(Date.now() - RATE_MS) * 1000) / RATE_MS,
  }
}

function statsOf({ hub, health, metrics, pressure, access, log }: Context): QuestionTypes['stats']['item'] {
  const { wires, readers, behind, channels, memory } = hub.stats()
  const { user, system } = process.cpuUsage()
  const { ready, takesEvents, reason, delays } = health
  const { cause } = pressure
  return {
    at: Date.now(),
    engine: log.engine,
    ready,
    takesEvents,
    ...(reason === undefined ? {} : { reason }),
    ...(cause === undefined ? {} : { overloaded: cause }),
    problems: [...access.problems].map(({ setting }) => setting),
    delays,
    wires,
    appends: metrics.appends,
    readers,
    behind,
    channels,
    recent: memory,
    rss: process.memoryUsage.rss(),
    cpu: (user + system) / 1000,
  }
}

export function answerQuestions(context: Context): void {
  const { questions, hub, nodes } = context
  questions
    .answer('connections', function* ({ user }) {
      for (const each of listed(context)) {
        const isAsked = user === undefined || each.identity.user === user
        yield isAsked ? [each.id, () => connectionItem(each)] : undefined
      }
    })
    .answer('readers', function* ({ user, channel }) {
      for (const each of listed(context)) {
        const isAsked =
          (user === undefined || each.identity.user === user) && each.held.channels.includes(channel)
        yield isAsked ? [each.id, () => readerItem(each, channel)] : undefined
      }
    })
    .answer('channels', function* ({ match = '*' }) {
      for (const channel of hub)
        yield matches(match, channel.name) ? [channel.name, () => channelItem(channel)] : undefined
    })
    .answer('stats', () => [[nodes.id, () => statsOf(context)]])
}
