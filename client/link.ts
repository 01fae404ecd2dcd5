// A link is one connection over a wire: the interface of all wires, and their shared code.

import type { Credentials } from './credentials.ts'
import { errorIn, FanwireError, Unauthorized } from './errors.ts'
import type { End, Event, Gap, Options, ReadOptions, Timing, Wire } from './types.ts'

/** A channel that a link reads. It keeps the position. */
export interface Source {
  readonly channel: string
  readonly options: ReadOptions
  /** The source's position, or where it begins. */
  readonly cursor: string
  /** Reports its start, or a later position that it reached without an event. */
  opened(cursor: string): void
  event(event: Event): void
  gap(gap: Gap): void
  end(end: End): void
  /** Called if the node refuses this channel to the client. */
  refused(error: FanwireError): void
}

/** Why a link ended. */
export interface Fault {
  readonly why: string
  /**
   * `final`: reconnecting does not help. `signed-out`: there is no token. `rejected`: the token is not accepted. `ended`:
   * the node ended the link. `mute`: nothing arrives, although the request was accepted.
   */
  readonly kind?: 'final' | 'signed-out' | 'rejected' | 'ended' | 'mute'
  /** The delay before reconnecting that the node requests, ms. */
  readonly hint?: number
}

export interface Link {
  /** Changes the sources that it reads. */
  want(sources: readonly Source[]): void
  /** Checks whether the node still answers, after the machine has slept or the network has changed. */
  check(): void
  /** Ends the link, which then calls none of its callbacks. */
  close(): void
}

export interface LinkEvents {
  /** Called when the link delivers. */
  opened(): void
  /** Called when the link has ended by itself. */
  down(fault: Fault): void
}

/** The parts that links need. */
export interface Env {
  /** The node's URL without a slash at the end. */
  readonly url: string
  readonly credentials: Credentials
  readonly timing: Timing
  readonly fetch: typeof fetch
  readonly WebSocket: Options['WebSocket']
  /** The maximum events of a page; smaller after pages that were cut. */
  readonly pages: { limit: number }
}

export type OpenLink = (env: Env, events: LinkEvents, wire: Wire) => Link

/** Requests a path. Returns a response with 2xx or 304. Raises FanwireError, and the errors of `getToken` and `fetch`. */
export async function ask(env: Env, path: string, init: RequestInit = {}): Promise<Response> {
  const token = await env.credentials.get()
  const headers = { ...init.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) }
  const request = { cache: 'no-store' as const, ...init, headers }
  const response = await env.fetch(`${env.url}${path}`, request)
  if (response.ok || response.status === 304) return response
  const error = await errorIn(response)
  if (error.status === 401) env.credentials.drop()
  throw error
}

/** The fault for an error of `ask`. */
export function faultOf(error: unknown): Fault {
  if (error instanceof Unauthorized) return { kind: 'signed-out', why: error.message || 'signed out' }
  const why = error instanceof Error ? error.message : String(error)
  if (!(error instanceof FanwireError)) return { why }
  if (error.status === 401) return { kind: 'rejected', why }
  return error.retry === undefined ? { why } : { kind: 'ended', why, hint: error.retry }
}

/** The meaning of a close code (docs/protocol.md#close-codes). */
export function faultOfCode(code: number, reason: string, hint = 0): Fault {
  const why = reason || `closed with ${code}`
  if (code === 4401) return { kind: 'rejected', why, hint }
  const final = code === 1008 || code === 1009 || code >= 4500
  return { kind: final ? 'final' : 'ended', why, hint }
}

/** The query of a read: a parameter that is the same for all channels once, any other once per channel. */
export function queryOf(sources: readonly Source[]): string {
  const query = new URLSearchParams(sources.map(({ channel }): [string, string] => ['channel', channel]))
  query.set('cursor', sources.map(({ cursor }) => cursor).join())
  for (const name of ['types', 'filter', 'every', 'newest'] as const) {
    const values = sources.map(({ options }) => textOf(options[name]))
    if (new Set(values).size === 1) values.length = 1
    if (values.some(value => value !== '')) for (const value of values) query.append(name, value)
  }
  return `${query}`
}

function textOf(value: ReadOptions[keyof ReadOptions]): string {
  if (value === undefined || typeof value === 'string') return value ?? ''
  return Array.isArray(value) ? value.join() : JSON.stringify(value)
}

/** An object as stream and ws deliver them. */
export type Message = Partial<Event> & {
  readonly gap?: Gap
  readonly end?: End
  readonly open?: { readonly cursor: string }
  /** The position up to which the channel has no events of the reader's selection. */
  readonly passed?: { readonly channel: string; readonly cursor: string }
  readonly close?: { readonly code: number; readonly reason: string; readonly retry?: number }
}

/** Delivers a message to its source. */
export function deliver(message: Message, sourceOf: (channel: string) => Source | undefined): void {
  const { gap, end, passed, channel } = message
  if (gap) sourceOf(gap.channel)?.gap(gap)
  else if (passed) sourceOf(passed.channel)?.opened(passed.cursor)
  else if (end) sourceOf(end.channel)?.end(end)
  else if (channel !== undefined) sourceOf(channel)?.event(message as Event)
}

/**
 * Finds the sources of a request that the node permanently refuses, by requesting each alone, and notifies them.
 * Returns whether there was one.
 */
export async function sift(env: Env, sources: readonly Source[], error: unknown): Promise<boolean> {
  const about = (each: unknown): each is FanwireError =>
    each instanceof FanwireError &&
    each.retry === undefined &&
    /^FW_(BAD|FORB|TOO_MANY_FILTERS)/.test(each.code)
  if (!about(error)) return false
  const [only, ...more] = sources
  if (only && more.length === 0) {
    only.refused(error)
    return true
  }
  const refusals = await Promise.all(
    sources.map(source => ask(env, `/v1/poll?${queryOf([source])}&limit=1`).catch((each: unknown) => each)),
  )
  refusals.forEach((each, i) => about(each) && sources[i]?.refused(each))
  return refusals.some(about)
}
