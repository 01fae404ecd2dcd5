// The routes' schemas: the query validator checks requests against them, and OpenAPI is generated from them.

import type { FastifySchema } from 'fastify'
import { type TObject, type TSchema, Type } from './schema.ts'

/** A parameter that may occur once. */
export const text = (description: string) => Type.Optional(Type.String({ description }))

/** A parameter that may be repeated. */
export const texts = (description: string) => Type.Optional(Type.Array(Type.String(), { description }))

/** A parameter that is one of some words. */
export const word = <W extends string>(words: readonly W[], description: string) =>
  Type.Optional(Type.Unsafe<W>({ type: 'string', enum: [...words], description }))

/** A whole number, `fallback` if it is omitted. */
export const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  Type.Optional(Type.Integer({ minimum, maximum, default: fallback, description }))

export const NO_PARAMETERS = Type.Object({})

/** Parameters in the path. */
export const CHANNEL = Type.Object({
  channel: Type.String({
    description: "1 to 200 of A-Z a-z 0-9 _ . : ~ @ - / # $ = , ; ! + & ( ) ' ?, percent-encoded once",
    maxLength: 200,
  }),
})
export const EVENT_OF_CHANNEL = Type.Object({
  ...CHANNEL.properties,
  id: Type.String({ description: 'the position of an event: <epoch>-<offset>' }),
})

export const EVENT = Type.Object(
  {
    channel: Type.String(),
    id: Type.String({ description: 'its position: <epoch>-<offset>' }),
    time: Type.Integer({ description: "the log's clock, ms since 1970" }),
    type: Type.Optional(Type.String()),
    tags: Type.Optional(
      Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } }),
    ),
    encoding: Type.Optional(Type.Literal('base64')),
    data: Type.Unknown(),
  },
  { description: 'an event, as every wire delivers it' },
)

export const GAP = Type.Object(
  { channel: Type.String(), from: Type.String(), to: Type.String() },
  { description: 'events after `from`, up to and including `to`, may be lost' },
)

export const END = Type.Object(
  { channel: Type.String(), id: Type.String() },
  { description: 'the channel has ended: nothing comes after this position' },
)

export const RECEIPT = Type.Object(
  { channel: Type.String(), id: Type.String(), time: Type.Integer() },
  { description: 'the log holds the event' },
)

export const PASSED = Type.Object(
  { channel: Type.String(), time: Type.Integer() },
  { description: 'the event was delivered to the connected readers' },
)

export const ERROR = Type.Object(
  {
    error: Type.Object({
      code: Type.String({ pattern: '^FW_' }),
      message: Type.String(),
      retry: Type.Optional(Type.Integer({ minimum: 0, description: 'ms until a retry makes sense' })),
      head: Type.Optional(Type.String({ description: 'the head of the channel, if that is the reason' })),
    }),
  },
  { description: 'the error reference lists every code' },
)

/** A response by its content type. */
export interface Content {
  readonly description: string
  readonly type?: string
  readonly schema?: TSchema
}

export interface Operation {
  readonly summary: string
  readonly tag: 'publish' | 'read' | 'channels' | 'operate' | 'admin' | 'access'
  readonly query?: TObject
  readonly path?: TObject
  /** The content types of the body. */
  readonly body?: Readonly<Record<string, TSchema>>
  /** The responses by status. Errors are added. */
  readonly answers: Readonly<Record<number, Content>>
}

const BINARY = Type.String()

/** The schema of a route. */
export function operation({
  summary,
  tag,
  query = NO_PARAMETERS,
  path,
  body,
  answers,
}: Operation): FastifySchema {
  const response: Record<string, unknown> = {
    '4xx': { ...ERROR, description: 'the request is invalid or not allowed' },
    '5xx': { ...ERROR, description: 'the node or the log failed; 503 is temporary' },
  }
  for (const [status, { description, type = 'application/json', schema = BINARY }] of Object.entries(
    answers,
  )) {
    response[status] = { description, content: { [type]: { schema } } }
  }
  const content = body && Object.fromEntries(Object.entries(body).map(([type, schema]) => [type, { schema }]))
  return {
    summary,
    tags: [tag],
    querystring: query,
    ...(path === undefined ? {} : { params: path }),
    ...(content === undefined ? {} : { body: { content } }),
    response,
  } as FastifySchema
}
