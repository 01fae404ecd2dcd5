// A site that serves the client, and pages in which the client follows channels.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import type { BrowserContext, Page } from 'playwright-core'
import { until } from '../support/until.ts'

export const WIRES = ['ws', 'sse', 'stream', 'long-poll', 'poll'] as const

const ENTRY = fileURLToPath(new URL('../../client/index.ts', import.meta.url))

export interface Site {
  readonly url: string
  close(): void
}

/** Serves `/client.js` and `files`, by path, and an empty page at any other path. */
export async function startSite(files: Readonly<Record<string, string>> = {}): Promise<Site> {
  const [output] = buildSync({ entryPoints: [ENTRY], bundle: true, format: 'esm', write: false }).outputFiles
  const all: typeof files = { '/client.js': output?.text ?? '', ...files }
  const server = createServer(({ url = '' }, response) => {
    response.setHeader('content-type', url.endsWith('.js') ? 'text/javascript' : 'text/html')
    response.end(all[url] ?? '<!doctype html>')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => void server.close().closeAllConnections(),
  }
}

/** A client in a page. */
export interface Reading {
  readonly tab: Page
  has(count: number): Promise<void>
  seen(): Promise<number[]>
  /** The wires over which it has connected, in order. */
  wires(): Promise<string[]>
  /** Time from its start to its first event, ms. */
  first(): Promise<number>
}

export interface Asked {
  readonly url: string
  readonly channel: string
  readonly options?: object
  /** A page that is already open. */
  readonly tab?: Page
}

/** Follows a channel from its first event on. */
export async function read(context: BrowserContext, site: Site, asked: Asked): Promise<Reading> {
  const { url, channel, options = {} } = asked
  const tab = asked.tab ?? (await context.newPage())
  if (asked.tab === undefined) await tab.goto(`${site.url}/empty`)
  const mine = `window.readers[${JSON.stringify(channel)}]`
  await tab.evaluate(`import('/client.js').then(({ connect }) => {
    const began = performance.now()
    window.readers ??= {}
    const mine = ${mine} = { seen: [], wires: [] }
    mine.client = connect('${url}', ${JSON.stringify(options)})
    mine.client.on('state', ({ wire }) => wire && mine.wires.at(-1) !== wire && mine.wires.push(wire))
    const subscription = mine.client.subscribe('${channel}', { cursor: 'earliest' })
    subscription.on('gap', gap => mine.seen.push(gap))
    subscription.on('event', event => {
      mine.first ??= performance.now() - began
      mine.seen.push(event.data)
    })
  })`)
  const count = () => tab.evaluate<number>(`${mine}.seen.length`)
  return {
    tab,
    has: wanted => until(`${wanted} events of ${channel}`, async () => (await count()) >= wanted),
    seen: () => tab.evaluate<number[]>(`${mine}.seen`),
    wires: () => tab.evaluate<string[]>(`${mine}.wires`),
    first: () => tab.evaluate<number>(`${mine}.first`),
  }
}
