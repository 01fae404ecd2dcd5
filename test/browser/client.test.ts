// The client in a real browser: the chat of docs/client.md, every wire, offline and back, and two tabs that share.

import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import t from 'tap'
import { startMemoryNode } from '../contract/node.ts'
import { blocksOf } from '../docs/blocks.ts'
import { until } from '../support/until.ts'
import { startBrowser, withoutBrowser } from './browser.ts'

const WIRES = ['ws', 'sse', 'stream', 'long-poll', 'poll'] as const
const ENTRY = fileURLToPath(new URL('../../client/index.ts', import.meta.url))

t.test('the client in a browser', { skip: withoutBrowser }, async t => {
  const [output] = buildSync({ entryPoints: [ENTRY], bundle: true, format: 'esm', write: false }).outputFiles
  const node = await startMemoryNode()
  const url = `http://127.0.0.1:${node.port}`
  const [chat] = blocksOf('docs/client.md').filter(({ language }) => language === 'html')
  const page = (chat?.text ?? '')
    .replace('http://127.0.0.1:8080/client.js', '/client.js')
    .replaceAll('http://127.0.0.1:8080', url)
  const site = createServer((request, response) => {
    const script = request.url === '/client.js'
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html')
    response.end(script ? output?.text : request.url === '/' ? page : '<!doctype html>')
  }).listen(0, '127.0.0.1')
  await once(site, 'listening')
  const here = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  const browser = await startBrowser()
  t.teardown(async () => {
    await browser.close()
    site.close().closeAllConnections()
    await node.close()
  })
  const context = await browser.newContext()
  const open = async (path: string) => {
    const tab = await context.newPage()
    await tab.goto(here + path)
    return tab
  }

  const [ada, bob] = [await open('/'), await open('/')]
  await ada.fill('[name=text]', 'hello')
  await ada.click('button')
  for (const each of [ada, bob]) await each.locator('li', { hasText: 'hello' }).waitFor()
  await Promise.all([ada.close(), bob.close()])

  const begin = async (channel: string, options: object) => {
    const tab = await open('/empty')
    await tab.evaluate(`import('/client.js').then(({ connect }) => {
      window.seen = []
      window.fanwire = connect('${url}', { timing: { backoff: 50, poll: 50 }, ...${JSON.stringify(options)} })
      fanwire.subscribe('${channel}', { cursor: 'earliest' }).on('event', event => seen.push(event.data))
    })`)
    const has = (count: number) =>
      until(`${count} events of ${channel}`, async () => (await tab.evaluate<number>('seen.length')) >= count)
    return { tab, has, seen: () => tab.evaluate<number[]>('seen') }
  }
  for (const wire of WIRES) {
    const { tab, has, seen } = await begin(wire, { wires: [wire] })
    await node.append(wire, '1')
    await has(1)
    await context.setOffline(true)
    await node.append(wire, '2')
    await context.setOffline(false)
    await has(2)
    t.strictSame(await seen(), [1, 2], `${wire}, offline and back`)
    await tab.close()
  }

  const tabs = [await begin('tabs', { tabs: 'shared' }), await begin('tabs', { tabs: 'shared' })] as const
  await node.append('tabs', '1')
  for (const each of tabs) await each.has(1)
  const { readers } = JSON.parse((await node.get('/v1/channels/tabs')).body) as { readers: number }
  t.equal(readers, 1, 'tabs share a reader')
  await tabs[0].tab.close()
  await node.append('tabs', '2')
  await tabs[1].has(2)
  t.strictSame(await tabs[1].seen(), [1, 2], 'the other tab goes on')
})
