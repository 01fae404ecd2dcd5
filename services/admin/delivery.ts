// Why an event did or did not reach a user: its state in the log, and the positions of the user's readers.

import type { QuestionTypes } from '../broker/control/questions.ts'
import { parsePosition, type Position, printPosition, samePosition } from '../broker/event/position.ts'
import type { ChannelLog, ChannelState } from '../broker/log/log.ts'
import { FanwireError } from '../errors.ts'
import type { Context } from '../http/context.ts'

interface Wanted {
  readonly user: string
  readonly channel: string
  readonly id: string
}

type EventState = 'readable' | 'trimmed' | 'not published' | 'other epoch'

interface Found {
  readonly state: EventState
  readonly head: Position
  readonly tail: Position | undefined
}

type ReaderItem = QuestionTypes['readers']['item']

const MOST_READERS = 1000

export async function explainDelivery(context: Context, { user, channel, id }: Wanted) {
  const position = parsePosition(id)
  if (position === undefined || position.offset === 0) {
    throw new FanwireError('FW_BAD_CURSOR', 'an event id is <epoch>-<offset>, such as m3k9zq-42')
  }
  const { questions, log } = context
  const [found, answers] = await Promise.all([
    find(log, channel, position),
    questions.ask('readers', { user, channel }, { limit: MOST_READERS }),
  ])
  const readers = answers.entries.flatMap(({ key: client, items }) =>
    items.map(({ node, item }) => ({ node, client, ...item, ...about(item, position, found) })),
  )
  const connected =
    readers.length > 0 || (await questions.ask('connections', { user }, { limit: 1 })).entries.length > 0
  return {
    event: {
      id,
      state: found.state,
      head: printPosition(found.head),
      tail: found.tail && printPosition(found.tail),
    },
    readers,
    why: [whyEvent(id, found), whyReaders(readers, connected)].join('; '),
    silent: answers.silent.map(node => node.id),
  }
}

async function find(log: ChannelLog, channel: string, position: Position): Promise<Found> {
  const { epoch, offset } = position
  const page = await log.read(channel, { epoch, offset: offset - 1 }, { events: 1, bytes: 1 })
  const [event] = page.events
  // Read after the event, so that later events are not reported as missing.
  const { head, tail } = await log.state(channel)
  const has = event !== undefined && samePosition(event, position)
  return {
    state: has ? 'readable' : stateOf(position, { head, tail }),
    head,
    tail,
  }
}

function stateOf({ epoch, offset }: Position, { head }: Pick<ChannelState, 'head' | 'tail'>): EventState {
  if (epoch !== head.epoch) return 'other epoch'
  return offset > head.offset ? 'not published' : 'trimmed'
}

function whyEvent(id: string, { state, head }: Found): string {
  switch (state) {
    case 'readable':
      return `the log has ${id}`
    case 'trimmed':
      return `${id} was published; retention has removed it since`
    case 'not published':
      return `${id} was not published: the newest event of the channel is ${printPosition(head)}`
    case 'other epoch':
      return `${id} is not from the channel's epoch, ${head.epoch}: the log never had it, or has lost it`
  }
}

/** Whether one reader received the event, and why. */
function about(
  { wire, position, from, selects, blocked }: ReaderItem,
  wanted: Position,
  { state }: Found,
): { readonly had: boolean | null; readonly why: string } {
  const at = position === undefined ? undefined : parsePosition(position)
  if (at === undefined) return { had: null, why: whyUnknown(wire) }
  if (at.epoch !== wanted.epoch) {
    return { had: null, why: 'it is in a different epoch than the event, and receives a gap in between' }
  }
  if (at.offset < wanted.offset) return { had: false, why: whyBehind(state, blocked) }
  if (selects === true) {
    return { had: null, why: 'it reads a selection of the events, which may leave this one out' }
  }
  const began = from === undefined ? undefined : parsePosition(from)
  if (began === undefined) {
    return { had: null, why: 'it is past the event, which it received unless it began after it' }
  }
  return began.offset < wanted.offset
    ? { had: true, why: 'it read past the event, and received it' }
    : { had: null, why: `it reads since ${from}, after the event: it began or continued there without it` }
}

function whyUnknown(wire: string): string {
  return wire === 'long-poll'
    ? 'it is a long poll, which is answered as soon as there is news'
    : 'its position in this channel is unknown'
}

function whyBehind(state: EventState, blocked: boolean): string {
  if (state === 'not published') return 'it waits for the event, which has not arrived'
  if (blocked) return 'it is behind: its socket is full, so its client reads too slowly'
  return state === 'readable'
    ? 'it is behind, and catches up'
    : 'it is before the event, which cannot be read any more: it receives a gap'
}

function whyReaders(readers: readonly { readonly had: boolean | null }[], connected: boolean): string {
  if (!connected) return 'the user holds no connection; polls hold none'
  if (readers.length === 0) return 'the user is connected, but reads this channel on no connection'
  const count = (had: boolean | null) => readers.filter(each => each.had === had).length
  const parts = [
    [count(true), 'sent it'],
    [count(false), 'not sent it yet'],
    [count(null), 'which may have received it'],
  ] as const
  const said = parts.flatMap(([n, what]) => (n === 0 ? [] : [`${n} ${what}`]))
  return `of the user's readers of the channel: ${said.join(', ')}`
}
