// The client in a real browser under faults: of the node, the page, the leading tab, and proxies that block wires.

import t from 'tap'
import { freePort } from '../../infra/local/ports.ts'
import { startFaultyProxy } from '../support/faulty-proxy.ts'
import { startNode } from '../support/node.ts'
import { until } from '../support/until.ts'
import { startBrowser, withoutBrowser } from './browser.ts'
import { read, startSite, WIRES } from './site.ts'

const numbers = (to: number) => Array.from({ length: to }, (_, i) => i + 1)

t.test('the client in a browser, under faults', { skip: withoutBrowser }, async t => {
  const settings = { env: { PORT: `${await freePort()}`, FANWIRE_DATA: t.testdir() } }
  let node = await startNode(settings)
  const { url, port } = node
  const proxies = await Promise.all([
    startFaultyProxy(port, { blockUpgrades: true }),
    startFaultyProxy(port, { blockUpgrades: true, buffer: /\/v1\/(sse|stream)/ }),
  ])
  const [blocking, buffering] = proxies
  const site = await startSite()
  const browser = await startBrowser()
  t.teardown(async () => {
    await browser.close()
    site.close()
    for (const proxy of proxies) proxy.close()
    await node.kill()
  })
  const context = await browser.newContext()
  const last = new Map<string, number>()
  /** Publishes the next numbers. */
  const publish = async (channel: string, count = 1) => {
    for (let i = 0; i < count; i++) {
      const n = (last.get(channel) ?? 0) + 1
      const headers = { 'content-type': 'application/json' }
      const { status } = await fetch(`${url}/v1/channels/${channel}/events`, {
        method: 'POST',
        headers,
        body: `${n}`,
      })
      if (status !== 201) throw new Error(`publish: ${status}`)
      last.set(channel, n)
    }
  }
  const readers = async (channel: string) =>
    ((await (await fetch(`${url}/v1/channels/${channel}`)).json()) as { readers: number }).readers

  // One open page uses each wire. Its timing is the default, except for shorter pauses.
  const page = await context.newPage()
  await page.goto(`${site.url}/empty`)
  const timing = { backoff: 50, maxBackoff: 500, poll: 100 }
  const each = await Promise.all(
    WIRES.map(async wire => {
      const options = { wires: [wire], timing }
      return [wire, await read(context, site, { url, channel: wire, options, tab: page })] as const
    }),
  )
  const check = async (what: string) => {
    for (const [wire, reading] of each) {
      await reading.has(last.get(wire) ?? 0)
      t.strictSame(await reading.seen(), numbers(last.get(wire) ?? 0), `${wire}: ${what}`)
    }
  }
  const publishAll = () => Promise.all(WIRES.map(wire => publish(wire, 5)))
  await publishAll()
  await check('events')
  await node.kill()
  node = await startNode(settings)
  await publishAll()
  await check('the node was killed, and is back')

  const session = await context.newCDPSession(page)
  await session.send('Page.setWebLifecycleState', { state: 'frozen' })
  await publishAll()
  await session.send('Page.setWebLifecycleState', { state: 'active' })
  await publishAll()
  await check('the page was frozen')
  await page.close()

  // Proxies block some wires: the client must fall back to a working wire before users give up.
  await publish('proxied', 3)
  const blocked = [
    ['WebSocket blocked', blocking, 'sse'],
    ['WebSocket blocked, and streams buffered', buffering, 'long-poll'],
  ] as const
  const proxied = await Promise.all(
    blocked.map(([, proxy]) => read(context, site, { url: proxy.url, channel: 'proxied' })),
  )
  for (const [i, [what, , wire]] of blocked.entries()) {
    const reading = proxied[i]
    await reading?.has(3)
    await until('the client is connected', async () => (await reading?.wires())?.length === 1)
    t.strictSame(await reading?.wires(), [wire], what)
    t.comment(`${what}: the first event after ${((await reading?.first()) ?? 0) | 0} ms, by ${wire}`)
  }
  await publish('proxied', 3)
  for (const reading of proxied) {
    await reading.has(6)
    t.strictSame(await reading.seen(), numbers(6))
    await reading.tab.close()
  }

  // A browser opens at most six HTTP/1.1 connections to a host: seven tabs share one.
  const shared = { url, channel: 'tabs', options: { tabs: 'shared', wires: ['sse'], timing } }
  const tabs = []
  while (tabs.length < 7) tabs.push(await read(context, site, shared))
  let publishing = true
  const stream = (async () => {
    while (publishing) await publish('tabs')
  })()
  for (const tab of tabs) await tab.has(20)
  await until('seven tabs have one connection', async () => (await readers('tabs')) === 1)
  const [leader, ...others] = tabs
  await leader?.tab.close()
  const before = last.get('tabs') ?? 0
  for (const tab of others) await tab.has(before + 20)
  publishing = false
  await stream
  for (const tab of others) {
    await tab.has(last.get('tabs') ?? 0)
    t.strictSame(await tab.seen(), numbers(last.get('tabs') ?? 0))
  }
  await until('another tab took over the connection', async () => (await readers('tabs')) === 1)
})
