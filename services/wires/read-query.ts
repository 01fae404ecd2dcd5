// The parameters of a read request, checked: docs/protocol.md#read.

import type { FastifyRequest } from 'fastify'
import { type Static, type TObject, type TSchema, Type } from '../http/schema.ts'
import { FanwireError, quote } from '../errors.ts'
import { text, texts } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { checkedReadable } from '../broker/event/names.ts'
import { parseCursor, type Start } from '../broker/event/position.ts'
import type { Selection } from '../broker/fanout/selection.ts'
import type { Plan } from '../broker/fanout/plan.ts'
import { PLANS, readPlans } from './plan-query.ts'
import { readSelections, SELECTS } from './select-query.ts'

/** Parameters that clients without headers send instead of `Last-Event-ID`. */
const LAST_EVENT_ID = ['lastEventId', 'last_event_id', 'Last-Event-ID'] as const

const CHANNELS = {
  channel: texts('a channel; repeat it for several channels'),
  cursor: texts(
    'a position for each channel, joined by commas; or `earliest`, `latest`, `last:<n>` (the newest n events) or ' +
      '`since:<ms or RFC 3339>`',
  ),
}

/** The parameters of a route whose channels are fixed, and its own. */
export const cursorParameters = <P extends Record<string, TSchema>>(own: P) =>
  Type.Object({ cursor: CHANNELS.cursor, ...own })

const RESUMES = {
  lastEventId: text('replaces the header Last-Event-ID'),
  last_event_id: text('the same'),
  'Last-Event-ID': text('the same'),
}

/** The form of an entry of a cursor. */
export const CURSOR_RULE =
  'a position (<epoch>-<offset>), earliest, latest, last:<n> (1 to 10000) or since:<ms or RFC 3339>'

/** The parameters of a wire: channels, a cursor, and its own. */
export const readParameters = <P extends Record<string, TSchema>>(own: P) =>
  Type.Object({ ...CHANNELS, ...SELECTS, ...own })

/** The parameters of a wire where `Last-Event-ID` takes precedence over `cursor`. */
export const resumeParameters = () => Type.Object({ ...CHANNELS, ...SELECTS, ...PLANS, ...RESUMES })

export interface ReadRules<S extends TObject> {
  /** Where a reader without a cursor begins. */
  readonly begin: 'earliest' | 'latest'
  readonly maxChannels: number
  /** Fixed channels, instead of the request's. */
  readonly channels?: readonly string[]
  /** Set if requests without channels are allowed. */
  readonly channelsOptional?: true
  /** Set if `Last-Event-ID`, as a header or a parameter, takes precedence over `cursor`. */
  readonly lastEventId?: true
  readonly query: S
}

export interface ReadQuery<V = object> {
  readonly channels: string[]
  /** One for each channel. */
  readonly starts: Start[]
  /** One for each channel; undefined for all events. */
  readonly selections: (Selection | undefined)[]
  /** One for each channel, or none at all. */
  readonly plans: readonly (Plan | undefined)[]
  /** Whether the client resumes with a `Last-Event-ID` that is not a cursor: it may have missed events before `starts`. */
  readonly lost: boolean
  /** The wire's own parameters. */
  readonly values: V
}

/** The parameters of every wire. */
interface Common {
  readonly channel?: readonly string[]
  readonly cursor?: readonly string[]
  readonly lastEventId?: string
  readonly last_event_id?: string
  readonly 'Last-Event-ID'?: string
}

/** Raises FW_BAD_PARAMETER, FW_BAD_CHANNEL, FW_TOO_MANY_CHANNELS, FW_BAD_CURSOR, FW_BAD_FILTER, FW_BAD_TYPE. */
export function readQuery<S extends TObject>(
  request: FastifyRequest,
  rules: ReadRules<S>,
): ReadQuery<Required<Static<S>>> {
  const values = checkedQuery(request, rules.query)
  const query = values as Common
  const channels =
    rules.channels === undefined ? readChannels(query.channel ?? [], rules) : [...rules.channels]
  const lastId = rules.lastEventId && lastEventId(request, query)
  const resumed = lastId === undefined ? undefined : parseCursor(lastId, channels.length)
  const selections = readSelections(values, channels.length)
  return {
    channels,
    starts: resumed ?? startsOf(cursorOf(query.cursor) || rules.begin, channels.length),
    selections,
    plans: readPlans(values, channels.length, selections),
    lost: lastId !== undefined && resumed === undefined,
    values: values as Required<Static<S>>,
  }
}

function readChannels(
  channels: readonly string[],
  rules: Pick<ReadRules<TObject>, 'maxChannels' | 'channelsOptional'>,
): string[] {
  if (channels.length === 0 && rules.channelsOptional === undefined) {
    throw new FanwireError('FW_BAD_CHANNEL', 'name at least one channel: ?channel=…')
  }
  if (channels.length > rules.maxChannels) {
    throw new FanwireError(
      'FW_TOO_MANY_CHANNELS',
      `${channels.length} channels; one request here may have at most ${rules.maxChannels}`,
    )
  }
  for (const [i, channel] of channels.entries()) {
    checkedReadable(channel)
    if (channels.indexOf(channel) !== i) {
      throw new FanwireError('FW_BAD_CHANNEL', `the channel ${quote(channel)} is named twice`)
    }
  }
  return [...channels]
}

/** The header takes precedence. Undefined if both are missing or empty. */
function lastEventId({ headers }: FastifyRequest, query: Common): string | undefined {
  return [headers['last-event-id'], ...LAST_EVENT_ID.map(name => query[name])].find(Boolean)?.toString()
}

function cursorOf([cursor = '', ...more]: readonly string[] = []): string {
  if (more.length === 0) return cursor
  throw new FanwireError('FW_BAD_CURSOR', 'give one cursor parameter; a list is joined by commas')
}

function startsOf(cursor: string, count: number): Start[] {
  const starts = parseCursor(cursor, count)
  if (starts !== undefined) return starts
  throw new FanwireError(
    'FW_BAD_CURSOR',
    `${quote(cursor)} is not a cursor for ${count} channel${count === 1 ? '' : 's'}: ${CURSOR_RULE} for each ` +
      'channel, joined by commas, or a single one that is not a position',
  )
}
