// Consecutive requests: poll, and long-poll, which the node holds until there are events.

import { FanwireError } from '../errors.ts'
import { ask, deliver, type Env, type OpenLink, queryOf, type Source } from '../link.ts'
import { pause } from '../pause.ts'
import { isPosition } from '../position.ts'
import type { End, Event, Gap } from '../types.ts'
import { openRequests } from './requests.ts'

/** How long a node holds a long poll, seconds. */
const WAIT_S = 25

/** The maximum events of a page. */
const MOST = 100

export interface Page {
  readonly events: readonly Event[]
  readonly gaps?: readonly Gap[]
  /** Channels that ended in this page. */
  readonly end?: readonly End[]
  readonly cursor: string
  readonly more?: true
}

/**
 * Requests a page. After a page that was cut, the next one is smaller, for networks that break large responses.
 */
export async function askPage(env: Env, path: string, signal: AbortSignal): Promise<Page> {
  const { pages } = env
  try {
    const response = await ask(env, `/v1/${path}&limit=${pages.limit}`, { signal })
    const page = (await response.json()) as Page
    pages.limit = Math.min(MOST, pages.limit * 2)
    return page
  } catch (error) {
    if (!(error instanceof FanwireError)) pages.limit = Math.max(1, pages.limit >> 2)
    throw error
  }
}

/** Delivers a page to its sources, which then have the positions of the page. */
export function deliverPage(page: Page, sources: readonly Source[]): void {
  const sourceOf = (channel: string) => sources.find(each => each.channel === channel)
  for (const gap of page.gaps ?? []) deliver({ gap }, sourceOf)
  for (const event of page.events) deliver(event, sourceOf)
  for (const end of page.end ?? []) deliver({ end }, sourceOf)
  page.cursor.split(',').forEach((cursor, i) => sources[i]?.opened(cursor))
}

export const openPoll: OpenLink = (env, events, wire) =>
  openRequests(env, events, wire, async (sources, signal, link) => {
    const { timing } = env
    while (!signal.aborted) {
      // A long poll would not report its start position before an event arrives.
      const held = wire === 'long-poll' && link.open && sources.every(({ cursor }) => isPosition(cursor))
      const path = held ? `long-poll?wait=${WAIT_S}&` : 'poll?'
      link.expect(timing.open + (held ? WAIT_S * 1000 : 0))
      const page = await askPage(env, path + queryOf(sources), signal)
      if (signal.aborted) return
      link.expect(Infinity)
      deliverPage(page, sources)
      link.opened()
      if (wire === 'poll' && !page.more) await pause(timing.poll * (0.75 + Math.random() / 2), signal)
    }
  })
