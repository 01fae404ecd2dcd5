// Requests and responses of the admin routes.

import { type TObject, type TProperties, Type } from '../http/schema.ts'
import { CHANNEL, EVENT_OF_CHANNEL, operation, text, whole } from '../http/operation.ts'

const time = (description: string) => Type.Integer({ description: `${description}, ms since 1970` })
const position = (description: string) => Type.String({ description: `${description}: <epoch>-<offset>` })

// Lists -------------------------------------------------------------------------------------------------------

const pages = <P extends TProperties>(own: P) =>
  Type.Object({
    ...own,
    limit: whole(1, 1000, 100, 'maximum number of items on the page'),
    after: text('`next` of the previous page'),
  })

export const NODES_QUERY = pages({})
export const CONNECTIONS_QUERY = pages({ user: text('only those of this user') })
export const CHANNELS_QUERY = pages({
  match: text('a pattern: `*` matches one segment between `:`, and at the end one or more'),
})

const NEXT = {
  next: Type.Optional(Type.String({ description: '`after` for the next page; absent on the last page' })),
}
const SILENT = {
  silent: Type.Array(Type.String(), { description: 'ids of nodes that did not answer in time' }),
}

const list = (summary: string, query: TObject, answer: TProperties) =>
  operation({
    summary,
    tag: 'admin',
    query,
    answers: { 200: { description: 'one page', schema: Type.Object(answer) } },
  })

export const NODES = list('The nodes', NODES_QUERY, {
  nodes: Type.Array(
    Type.Object({
      id: Type.String(),
      role: Type.String(),
      version: Type.String(),
      host: Type.String(),
      pid: Type.Integer(),
      started: time('start of the node'),
      connections: Type.Integer(),
      channels: Type.Integer({ description: 'channels that it follows' }),
    }),
  ),
  ...NEXT,
})

export const CONNECTIONS = list('The connections of all nodes', CONNECTIONS_QUERY, {
  connections: Type.Array(
    Type.Object({
      id: Type.String(),
      user: Type.String(),
      key: Type.Optional(Type.String({ description: 'id of its API key' })),
      wire: Type.String(),
      since: Type.Optional(time('start of the connection')),
      channels: Type.Array(Type.String()),
      node: Type.String(),
    }),
  ),
  ...NEXT,
  ...SILENT,
})

const SELECTS = Type.Boolean({ description: 'it reads a selection of the events' })

export const CHANNELS = list('The channels that nodes follow', CHANNELS_QUERY, {
  channels: Type.Array(
    Type.Object({
      channel: Type.String(),
      readers: Type.Integer({ description: 'on all nodes' }),
      rate: Type.Number({ description: 'events per second over the last 10 s' }),
      head: Type.Optional(position('the newest event')),
      members: Type.Optional(Type.Integer({ description: 'users in it, if it keeps presence' })),
      nodes: Type.Integer({ description: 'nodes that follow it' }),
    }),
  ),
  ...NEXT,
  ...SILENT,
})

const COUNT = Type.Integer({ minimum: 0 })
const LATE = 'a node that has stopped is listed for up to 15 s'

export const STATS = operation({
  summary: 'The state of each node, with counters since its start',
  tag: 'admin',
  answers: {
    200: {
      description: 'from all nodes that answer within a second',
      schema: Type.Object({
        nodes: Type.Array(
          Type.Object({
            id: Type.String(),
            role: Type.String(),
            version: Type.String(),
            host: Type.String(),
            started: time('start of the node'),
            at: time("time of the report by the node's clock, for the calculation of rates"),
            engine: Type.String(),
            ready: Type.Boolean(),
            takesEvents: Type.Boolean(),
            reason: text('why it is not ready, or accepts no publishes'),
            overloaded: text('the exhausted resource: loop or memory'),
            problems: Type.Array(Type.String(), {
              description: 'settings whose current file is invalid',
            }),
            delays: Type.Array(Type.Number(), {
              description: 'ms from append to delivery of each probe in the last minute',
            }),
            wires: Type.Unsafe<object>({
              type: 'object',
              additionalProperties: Type.Object({ connections: COUNT, deliveries: COUNT, gaps: COUNT }),
            }),
            appends: Type.Object({ appended: COUNT, replayed: COUNT, failed: COUNT }),
            readers: COUNT,
            behind: Type.Integer({ description: 'connections whose socket is full' }),
            channels: COUNT,
            recent: Type.Integer({ description: 'bytes of recent events in memory' }),
            rss: Type.Integer({ description: 'resident memory, bytes' }),
            cpu: Type.Number({ description: 'CPU time since the start, ms' }),
          }),
        ),
        silent: Type.Array(Type.String(), {
          description: `ids of nodes that did not answer in time; ${LATE}`,
        }),
      }),
    },
  },
})

export const CHANNEL_SEEN = operation({
  summary: 'A channel on all nodes, and the rule that applies to it',
  tag: 'admin',
  path: CHANNEL,
  answers: {
    200: {
      description: 'its state in the log and on the nodes',
      schema: Type.Object({
        channel: Type.String(),
        head: position('the newest event'),
        tail: Type.Optional(position('the oldest event that can be read')),
        count: Type.Integer({ description: 'events that can be read' }),
        readers: Type.Integer({ description: 'on all nodes' }),
        rate: Type.Number({ description: 'events per second over the last 10 s' }),
        nodes: Type.Integer({ description: 'nodes that follow it' }),
        rule: Type.Object({
          match: Type.String(),
          line: Type.Integer({ description: '0 if it is not from a file' }),
          subscribe: Type.Array(Type.String()),
          publish: Type.Array(Type.String()),
        }),
        history: Type.Object(
          { events: Type.Integer(), age: Type.Integer(), bytes: Type.Integer() },
          { description: 'retention: events, ms, bytes' },
        ),
        ...SILENT,
      }),
    },
  },
})

export const READERS_QUERY = pages({ user: text('only those of this user') })

export const READERS = operation({
  summary: 'The readers of a channel on all nodes, and how far each is',
  tag: 'admin',
  path: CHANNEL,
  query: READERS_QUERY,
  answers: {
    200: {
      description: 'one page',
      schema: Type.Object({
        readers: Type.Array(
          Type.Object({
            id: Type.String(),
            user: Type.String(),
            wire: Type.String(),
            since: Type.Optional(time('start of the connection')),
            position: Type.Optional(position('the last event that it was sent')),
            from: Type.Optional(position('the event after which it began to read')),
            selects: Type.Optional(SELECTS),
            blocked: Type.Boolean({ description: 'its socket is full' }),
            node: Type.String(),
          }),
        ),
        ...NEXT,
        ...SILENT,
      }),
    },
  },
})

// Acts --------------------------------------------------------------------------------------------------------

const USER = Type.Object({ user: Type.String({ maxLength: 200 }) })

export const DISCONNECT_BODY = Type.Object({ client: text('only the connection with this id') })
export const REVOKE_BODY = Type.Object({
  before: Type.Optional(
    Type.Union([Type.Number(), Type.String()], {
      description: 'seconds or ms since 1970, or an RFC 3339 time, in the past; now if absent',
    }),
  ),
})
export const UNSUBSCRIBE_BODY = Type.Object({ user: Type.String() })

const act = (summary: string, path: TObject, body: TObject, answer: TProperties) =>
  operation({
    summary,
    tag: 'admin',
    path,
    body: { 'application/json': body },
    answers: {
      202: {
        description: 'the log holds the command, and all nodes execute it',
        schema: Type.Object(answer),
      },
    },
  })

export const DISCONNECT = act('End the connections of a user', USER, DISCONNECT_BODY, {
  user: Type.String(),
  client: Type.Optional(Type.String()),
})
export const REVOKE = act("Revoke a user's tokens that were issued before a time", USER, REVOKE_BODY, {
  user: Type.String(),
  before: time('issued before'),
})
export const UNSUBSCRIBE = act(
  'End the connections of a user that read a channel',
  CHANNEL,
  UNSUBSCRIBE_BODY,
  { user: Type.String(), channel: Type.String() },
)

export const ERASE = operation({
  summary: 'Erase the data of an event: its position, time and type remain',
  tag: 'admin',
  path: EVENT_OF_CHANNEL,
  answers: {
    200: {
      description: 'no node holds the data any more, within a second',
      schema: Type.Object({ channel: Type.String(), id: Type.String(), erased: Type.Boolean() }),
    },
  },
})

export const CLEAR = operation({
  summary: 'Erase all events of a channel: readers receive a gap',
  tag: 'admin',
  path: CHANNEL,
  answers: {
    200: {
      description: 'another epoch has begun, at this head',
      schema: Type.Object({ channel: Type.String(), head: Type.String() }),
    },
  },
})

// Explain -----------------------------------------------------------------------------------------------------

export const EXPLAIN_BODY = Type.Object({
  token: text('the token whose right to check'),
  user: text('the user whose right to check'),
  right: text('publish, subscribe, history, presence or admin'),
  channel: text('the channel'),
  id: text('an event of the channel, to explain why it did or did not reach the user'),
})

const nullable = <S extends TObject>(schema: S) => Type.Union([schema, Type.Null()])

const RIGHT_EXPLAINED = Type.Object({
  allowed: Type.Boolean(),
  why: Type.String(),
  rule: nullable(Type.Object({ match: Type.String(), line: Type.Integer() })),
  grant: nullable(
    Type.Object({
      origin: Type.String(),
      channels: Type.Array(Type.String()),
      allow: Type.Array(Type.String()),
    }),
  ),
  hook: nullable(Type.Object({ url: Type.String({ description: 'the hook that decides' }) })),
})

const EVENT_EXPLAINED = Type.Object({
  event: Type.Object({
    id: Type.String(),
    state: Type.String({ description: 'readable, trimmed, not published or other epoch' }),
    head: position('the newest event'),
    tail: Type.Optional(position('the oldest event that can be read')),
  }),
  readers: Type.Array(
    Type.Object({
      node: Type.String(),
      client: Type.String(),
      wire: Type.String(),
      since: Type.Optional(time('start of the connection')),
      position: Type.Optional(position('the last event that it was sent')),
      from: Type.Optional(position('the event after which it began to read')),
      selects: Type.Optional(SELECTS),
      blocked: Type.Boolean({ description: 'its socket is full' }),
      had: Type.Union([Type.Boolean(), Type.Null()], { description: 'null: unknown' }),
      why: Type.String(),
    }),
  ),
  why: Type.String(),
  ...SILENT,
})

export const EXPLAIN = operation({
  summary: 'What allows or denies a right, or why an event did or did not reach a user',
  tag: 'admin',
  body: { 'application/json': EXPLAIN_BODY },
  answers: { 200: { description: 'in words', schema: Type.Union([RIGHT_EXPLAINED, EVENT_EXPLAINED]) } },
})
