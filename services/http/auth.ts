// The identity of each request, from its credentials.

import { hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Right } from '../broker/access/grants.ts'
import type { Presented } from '../broker/access/access.ts'
import { ANONYMOUS, type Identity } from '../broker/access/identity.ts'
import type { Claims, Soon } from '../broker/access/tokens.ts'
import { FanwireError } from '../errors.ts'
import { askerOf } from './asking.ts'
import { cookieOf, requireOwnPage, requireShowableCookies } from './cookies.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The identity; `ANONYMOUS` if there are no credentials. */
    identity: Identity
    /** The claims of its token, on routes that keep them; undefined if it was not a token. */
    claims: Claims | undefined
  }

  interface FastifyContextConfig {
    /** The name of a parameter with a session id: such a request belongs to that session, whatever its credentials. */
    session?: string
    /** Set if the route needs no credentials. */
    anonymous?: true
    /** Further cookies that may contain a token on this route. The first one present counts. */
    tokenCookies?: readonly string[]
    /** Another name of the token's parameter on this route. */
    tokenParameter?: string
    /** The route issues tickets, so it needs the claims to store. */
    claims?: true
  }
}

const BEARER = /^Bearer(?: |$)/i

/**
 * The credentials after the scheme in an `Authorization` header; undefined for another scheme, or without the header.
 */
export function bearerOf({ authorization }: IncomingHttpHeaders): string | undefined {
  if (authorization === undefined || !BEARER.test(authorization)) return undefined
  return authorization.slice('Bearer '.length).trim()
}

/** A parameter that may occur once. Raises FW_BAD_PARAMETER. */
function parameterOf({ query }: FastifyRequest, name: string): string | undefined {
  const value = (query as Record<string, string | string[] | undefined>)[name]
  if (Array.isArray(value)) throw new FanwireError('FW_BAD_PARAMETER', `${name} occurs more than once`)
  return value === '' ? undefined : value
}

/** The request's ticket, unless it has better credentials. Raises FW_BAD_PARAMETER. */
export function ticketOf(request: FastifyRequest): string | undefined {
  return bearerOf(request.headers) === undefined ? parameterOf(request, 'ticket') : undefined
}

/** Channel tokens of a request: `channel_token`, repeatable. */
function channelTokensOf({ query }: FastifyRequest): readonly string[] {
  const { channel_token: tokens = [] } = query as { channel_token?: string | string[] }
  return typeof tokens === 'string' ? [tokens] : tokens
}

/** The request's tokens in parameters, which it can use again: not its ticket. */
export function reusableParametersOf(request: FastifyRequest): [name: string, value: string][] {
  const token = request.server.fanwire.config.tokenQuery ? parameterOf(request, 'token') : undefined
  return [
    ...(token === undefined ? [] : [['token', token] satisfies [string, string]]),
    ...channelTokensOf(request).map((each): [string, string] => ['channel_token', each]),
  ]
}

/** Whether the application identifies clients without credentials. */
function asksWho({ server, route, is404 }: FastifyRequest): boolean {
  return server.fanwire.access.asking?.connects === true && route.always !== true && !is404
}

/**
 * The application's identity for a client without credentials. Raises FW_FORBIDDEN, FW_HOOK_FAILED,
 * FW_FORBIDDEN_ORIGIN.
 */
export async function askWho(request: FastifyRequest): Promise<Identity> {
  if (!asksWho(request)) return ANONYMOUS
  requireShowableCookies(request)
  return (await request.server.fanwire.access.asking?.connect(askerOf(request))) ?? ANONYMOUS
}

/**
 * The identity of a request. Raises FW_UNAUTHORIZED for credentials that are not accepted, FW_NOT_READY, FW_FORBIDDEN_ORIGIN,
 * FW_BAD_PARAMETER; FW_FORBIDDEN, FW_HOOK_FAILED if the application refuses it.
 */
function identify(request: FastifyRequest): Soon<Presented> {
  const presented = connectionIdentity(request)
  const complete =
    !(presented instanceof Promise) &&
    presented.identity !== ANONYMOUS &&
    channelTokensOf(request).length === 0
  return complete ? presented : identifyFurther(request, presented)
}

/** The parts of `identify` that have to wait. */
async function identifyFurther(request: FastifyRequest, shown: Soon<Presented>): Promise<Presented> {
  const { access, config } = request.server.fanwire
  const { claims, identity: presented } = await shown
  let identity = presented
  if (identity === ANONYMOUS) identity = await askWho(request)
  const tokens = channelTokensOf(request)
  const most = config.maxChannels
  if (tokens.length > most) {
    throw new FanwireError('FW_BAD_PARAMETER', `a request may have at most ${most} channel_token parameters`)
  }
  for (const token of tokens) identity = await access.withChannelToken(identity, token)
  return claims === undefined ? { identity } : { identity, claims }
}

function connectionIdentity(request: FastifyRequest): Soon<Presented> {
  const { access, config, tickets } = request.server.fanwire
  const bearer = bearerOf(request.headers)
  if (bearer !== undefined) return access.bearer(bearer)
  const ticket = ticketOf(request)
  if (ticket !== undefined) return tickets.take(ticket).then(claims => access.accept(claims))
  const { tokenParameter } = request.route
  const token =
    parameterOf(request, 'token') ??
    (tokenParameter === undefined ? undefined : parameterOf(request, tokenParameter))
  if (token !== undefined) {
    if (config.tokenQuery) return access.token(token)
    throw new FanwireError(
      'FW_BAD_PARAMETER',
      'a token in a URL ends up in logs: send Authorization: Bearer, get a ticket from POST /v1/tickets, or set FANWIRE_TOKEN_QUERY=1',
    )
  }
  const cookie = cookiesOf(request)
    .map(name => cookieOf(request.headers, name))
    .find(value => value !== undefined)
  if (cookie === undefined || access.asksNobody) return { identity: ANONYMOUS }
  requireOwnPage(request)
  return access.token(cookie)
}

/** Names of the cookies that may hold a token. */
function cookiesOf({ route, server }: FastifyRequest): readonly string[] {
  const { tokenCookie } = server.fanwire.config
  const own = route.tokenCookies ?? NO_COOKIES
  return tokenCookie === undefined ? own : [...own, tokenCookie]
}

const NO_COOKIES: readonly string[] = []

/** Whether the request has no credentials. */
function isBare(request: FastifyRequest): boolean {
  const { headers, query, route } = request
  if (headers.authorization !== undefined) return false
  if (headers.cookie !== undefined && cookiesOf(request).length > 0) return false
  const values = query as Record<string, unknown>
  const { tokenParameter } = route
  if (tokenParameter !== undefined && values[tokenParameter] !== undefined) return false
  return values.ticket === undefined && values.token === undefined && values.channel_token === undefined
}

/** Whether the request continues an existing session. */
function ofSession({ query, route }: FastifyRequest): boolean {
  const id = route.session === undefined ? undefined : (query as Record<string, unknown>)[route.session]
  return id !== undefined && id !== ''
}

const scopes = new WeakMap<Identity, string>()

/**
 * The log's scope for idempotency keys, so that nobody can use up another's. Empty for anonymous clients; without
 * spaces, and never a secret.
 */
export function scopeOf(identity: Identity): string {
  if (identity.kind === 'anonymous') return ''
  let hashed = scopes.get(identity)
  if (hashed === undefined) {
    const { kind, key, user, scope } = identity
    hashed = hash('sha256', `fanwire ${kind} ${scope ?? key ?? user}`, 'base64url').slice(0, 16)
    scopes.set(identity, hashed)
  }
  return hashed
}

/** Why a client may not publish, whatever its identity: it is a browser page of another origin. */
export function publishRefusalOf({
  headers,
  server,
}: Pick<FastifyRequest, 'headers' | 'server'>): FanwireError | undefined {
  const { origin, host = headers[':authority']?.toString() } = headers
  if (origin === undefined || server.origins.mayPublish(origin, host)) return undefined
  return new FanwireError(
    'FW_FORBIDDEN_ORIGIN',
    'a browser page of this origin may not publish; FANWIRE_PUBLISH_ORIGINS lists the origins that may',
  )
}

/** Raises FW_FORBIDDEN_ORIGIN if a browser page of another origin publishes. */
export function requirePublishOrigin(request: FastifyRequest): void {
  const refusal = publishRefusalOf(request)
  if (refusal !== undefined) throw refusal
}

/** An onRequest hook for routes that concern no channel. Raises FW_UNAUTHORIZED, FW_FORBIDDEN. */
export function requireRight(right: Right) {
  return async ({ server, identity }: FastifyRequest): Promise<void> => {
    server.fanwire.access.require(identity, right)
  }
}

export const auth = fp(
  async app => {
    app.decorateRequest('identity')
    app.decorateRequest('claims', undefined)
    app.addHook('onRequest', (request, _reply, done) => {
      request.identity = ANONYMOUS
      const { anonymous, claims: keepsClaims } = request.route
      const bare = isBare(request) && !asksWho(request)
      if (anonymous === true || bare || ofSession(request)) return done()
      const take = ({ identity, claims }: Presented) => {
        request.identity = identity
        if (keepsClaims === true) request.claims = claims
        done()
      }
      const presented = identify(request)
      if (presented instanceof Promise) presented.then(take, done)
      else take(presented)
    })
  },
  { name: 'fanwire-auth', dependencies: ['fanwire-origins'], fastify: '5.x' },
)
