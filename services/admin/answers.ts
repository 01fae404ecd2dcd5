// This node's answers to questions to all nodes.

import { randomBytes } from 'node:crypto'
import type { QuestionTypes } from '../broker/control/questions.ts'
import { printPosition } from '../broker/event/position.ts'
import type { Channel } from '../broker/fanout/channel.ts'
import { matches } from '../broker/rules/patterns.ts'
import type { Held } from '../http/clients.ts'
import type { Context } from '../http/context.ts'

/** Rates are measured over this many ms. */
const RATE_MS = 10_000

interface Listed {
  readonly id: string
  readonly held: Held
  readonly user: string
  readonly key?: string | undefined
  readonly since?: number
}

/** If everybody may do everything, nothing is stored about clients, so ids are created for the list. */
const ids = new WeakMap<Held, string>()

function idOf(held: Held): string {
  const id = ids.get(held) ?? randomBytes(12).toString('base64url')
  ids.set(held, id)
  return id
}

function* listed({ access, clients, hub }: Context): Generator<Listed> {
  if (access.isOpen) {
    for (const held of hub.connections) yield { id: idOf(held), held, user: '' }
  } else {
    for (const { id, held, since, identity } of clients) {
      yield { id, held, since, user: identity.user, key: identity.key }
    }
  }
}

const sinceOf = ({ since }: Listed) => (since === undefined ? {} : { since })

function connectionItem(each: Listed): QuestionTypes['connections']['item'] {
  const { user, key, held } = each
  return {
    user,
    ...(key === undefined ? {} : { key }),
    wire: held.wire,
    ...sinceOf(each),
    channels: held.channels,
  }
}

function readerItem(each: Listed, channel: string): QuestionTypes['readers']['item'] {
  const { held } = each
  const position = held.positionIn(channel)
  return {
    user: each.user,
    wire: held.wire,
    ...sinceOf(each),
    ...(position === undefined ? {} : { position: printPosition(position) }),
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
        if (user === undefined || each.user === user) yield [each.id, () => connectionItem(each)]
      }
    })
    .answer('readers', function* ({ user, channel }) {
      for (const each of listed(context)) {
        if ((user === undefined || each.user === user) && each.held.channels.includes(channel)) {
          yield [each.id, () => readerItem(each, channel)]
        }
      }
    })
    .answer('channels', function* ({ match = '*' }) {
      for (const channel of hub)
        if (matches(match, channel.name)) yield [channel.name, () => channelItem(channel)]
    })
    .answer('stats', () => [[nodes.id, () => statsOf(context)]])
}
