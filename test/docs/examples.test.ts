// The examples work as a user runs them: pages in a browser, programs as processes.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Browser, Page } from 'playwright-core'
import t from 'tap'
import { ROOT } from '../../bench/files.ts'
import { freePort } from '../../infra/local/ports.ts'
import { startBrowser, withoutBrowser } from '../browser/browser.ts'
import { startMemoryNode } from '../contract/node.ts'
import { startNode } from '../support/node.ts'
import { until } from '../support/until.ts'

const EXAMPLES = join(ROOT, 'examples')

/** Serves an example's page like any static server. Returns its URL. */
async function servePage(example: string): Promise<{ url: string; close(): void }> {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8')
    createReadStream(join(EXAMPLES, example, 'index.html')).pipe(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, close: () => void server.close().closeAllConnections() }
}

/** Returns when the elements that match `selector` show these texts, in order. */
async function shows(page: Page, selector: string, expected: readonly RegExp[]): Promise<void> {
  const texts = () => page.locator(selector).allTextContents()
  await until(`${selector} shows ${expected}`, async () => {
    const found = await texts()
    return found.length === expected.length && expected.every((each, i) => each.test(found[i] ?? ''))
  }).catch(async error => {
    throw new Error(`${error instanceof Error ? error.message : error}: ${JSON.stringify(await texts())}`)
  })
}

async function inBrowser(use: (browser: Browser) => Promise<void>): Promise<void> {
  const browser = await startBrowser()
  await use(browser).finally(() => browser.close())
}

t.test('browser-page shows the history, new events and a gap', { skip: withoutBrowser }, async t => {
  const port = await freePort()
  const settings = { PORT: `${port}` }
  const node = await startNode({ env: settings })
  const site = await servePage('browser-page')
  t.teardown(() => site.close())
  const publish = async (text: string, query = '') => {
    const body = JSON.stringify(text)
    const headers = { 'content-type': 'application/json' }
    await fetch(`${node.url}/v1/channels/news/events${query}`, { method: 'POST', headers, body })
  }
  await publish('before')
  await inBrowser(async browser => {
    const page = await browser.newPage()
    await page.goto(`${site.url}/?channel=news&node=${node.url}`)
    await shows(page, 'h1', [/^news$/])
    await shows(page, 'output', [/^open$/])
    await shows(page, 'li', [/before$/])
    await publish('typed', '?type=post')
    await shows(page, 'li', [/typed$/, /before$/])
    // The node restarts without its events: the page reconnects by itself and shows the gap.
    await node.kill()
    await shows(page, 'output', [/^reconnecting$/])
    const again = await startNode({ env: settings })
    t.teardown(() => again.stop())
    await shows(page, 'output', [/^open$/])
    await shows(page, 'li', [/may be missing/, /typed$/, /before$/])
  })
  t.pass('the page shows everything')
})

t.test('chat reads the history, and a message reaches everybody once', { skip: withoutBrowser }, async t => {
  const node = await startMemoryNode()
  const site = await servePage('chat')
  t.teardown(() => Promise.all([node.close(), site.close()]))
  const url = `${site.url}/?room=lobby&node=http://127.0.0.1:${node.port}`
  await node.append('chat:lobby', '{"from":"ada","text":"first"}')
  await inBrowser(async browser => {
    const [one, two] = [await browser.newPage(), await browser.newPage()]
    for (const page of [one, two]) {
      await page.goto(url)
      await shows(page, 'li', [/^ada: first$/])
    }
    await one.fill('[name=from]', 'bob')
    await one.fill('[name=text]', '<b>second</b>')
    await one.click('button')
    for (const page of [one, two]) await shows(page, 'li', [/^ada: first$/, /^bob: <b>second<\/b>$/])
  })
  t.pass('both windows show the message')
})

t.test('publisher keeps the order when its node starts late', async t => {
  const { Publisher } = (await import(`${EXAMPLES}/publisher/publisher.js`)) as {
    Publisher: new (options: { url: string }) => {
      publish(channel: string, data: unknown, options?: { type?: string }): Promise<{ id: string }>
    }
  }
  const port = await freePort()
  const publisher = new Publisher({ url: `http://127.0.0.1:${port}` })
  const results = Array.from({ length: 250 }, (_, n) => publisher.publish(n % 2 === 0 ? 'even' : 'odd', n))
  const node = await startNode({ env: { PORT: `${port}` } })
  t.teardown(() => node.stop())
  const receipts = await Promise.all(results)
  t.equal(new Set(receipts.map(({ id }) => id)).size, 250)
  const read = async (channel: string) => {
    const answer = await fetch(`${node.url}/v1/poll?channel=${channel}&limit=1000`)
    return ((await answer.json()) as { events: { data: number }[] }).events.map(({ data }) => data)
  }
  t.same(
    [await read('even'), await read('odd')],
    [0, 1].map(rest => Array.from({ length: 125 }, (_, n) => 2 * n + rest)),
  )
  await t.rejects(publisher.publish('no/such name', 1), /FW_BAD_CHANNEL/, 'a permanent error is not retried')
  t.match(await publisher.publish('even', 1, { type: 'post' }), { id: /-126$/ }, 'and others continue')
})

t.test('notifications reach only their user, and resume', async t => {
  const node = await startMemoryNode()
  const port = await freePort()
  const env = { PATH: process.env.PATH, PORT: `${port}`, FANWIRE_URL: `http://127.0.0.1:${node.port}` }
  const app = spawn(process.execPath, ['server.js'], { cwd: join(EXAMPLES, 'notifications'), env })
  t.teardown(async () => {
    app.kill()
    await node.close()
  })
  await once(createInterface({ input: app.stdout }), 'line')
  const url = `http://127.0.0.1:${port}`
  const notify = async (user: string, text: string) => {
    const body = JSON.stringify({ text })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${url}/notify/${user}`, { method: 'POST', headers, body })
    return ((await answer.json()) as { id: string }).id
  }
  t.equal((await fetch(`${url}/notifications`)).status, 401)
  const first = await notify('ada', 'first')
  await notify('bob', 'not for ada')
  await notify('ada', 'second')

  const abort = new AbortController()
  const stream = await fetch(`${url}/notifications?user=ada`, {
    headers: { 'last-event-id': first },
    signal: abort.signal,
  })
  let text = ''
  for await (const piece of stream.body ?? []) {
    text += Buffer.from(piece).toString()
    if (text.includes('second')) break
  }
  abort.abort()
  t.notMatch(text, /first|not for ada/)

  if (withoutBrowser !== false) return
  await inBrowser(async browser => {
    const page = await browser.newPage()
    await page.goto(`${url}/?user=ada`)
    await until(
      'the page follows',
      async () => JSON.parse((await node.get('/v1/channels/user:ada')).body).readers > 0,
    )
    await notify('ada', 'Your order has left.')
    await shows(page, 'li', [/^Your order has left\.$/])
  })
})

t.test('who-is-online works with tokens, a hook, webhooks and presence', async t => {
  const [port, nodePort] = [await freePort(), await freePort()]
  const env = {
    PATH: process.env.PATH,
    PORT: `${port}`,
    NODE_PORT: `${nodePort}`,
    FANWIRE: `${process.execPath} ${join(ROOT, 'dist/services/main.js')}`,
  }
  const app = spawn(process.execPath, ['server.js'], { cwd: join(EXAMPLES, 'who-is-online'), env })
  t.teardown(() => app.kill())
  await once(createInterface({ input: app.stdout }), 'line')
  const url = `http://127.0.0.1:${port}`
  t.equal((await fetch(`${url}/session`)).status, 401)
  const ask = async (path: string) => (await fetch(url + path)).json()
  const { token, node, room } = (await ask('/session?user=ada')) as Record<string, string>
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const say = async (text: string) => {
    const body = JSON.stringify({ text, from: 'somebody else' })
    const answer = await fetch(`${node}/v1/channels/${room}/events`, { method: 'POST', headers, body })
    return answer.json()
  }
  const abort = new AbortController()
  const stream = await fetch(`${node}/v1/stream?channel=${room}`, { headers, signal: abort.signal })
  t.match(await say('hello'), { channel: room })
  t.match(await say('HELLO'), { error: { code: 'FW_FORBIDDEN', message: 'do not shout', application: 4200 } })
  t.equal((await fetch(`${url}/announce?text=lunch`, { method: 'POST' })).status, 201)
  let text = ''
  for await (const piece of stream.body ?? []) {
    text += Buffer.from(piece).toString()
    if (text.includes('lunch')) break
  }
  t.match(text, /"from":"ada","text":"hello"[^]*"from":"the app"/)
  // Ada stays a member. An unread body is discarded when its response is collected.
  const again = await fetch(`${node}/v1/stream?channel=${room}`, { headers, signal: abort.signal })
  t.equal(again.status, 200)
  void again.body?.pipeTo(new WritableStream()).catch(() => {})
  t.equal(
    (await fetch(`${url}/fanwire/webhook`, { method: 'POST', headers, body: '{}' })).status,
    401,
    'not signed',
  )
  await until(
    'the app is notified',
    async () => JSON.stringify(await ask('/online')) === `{"${room}":["ada"]}`,
  )
  if (withoutBrowser === false) {
    await inBrowser(async browser => {
      const page = await browser.newPage()
      await page.goto(`${url}/?user=bob`)
      await shows(page, '#online', [/^ada, bob$/])
      await page.fill('[name=text]', 'STOPPP')
      await page.click('button')
      await shows(page, 'output', [/^do not shout$/])
      await page.fill('[name=text]', 'hi')
      await page.click('button')
      await shows(page, 'li', [/^bob: hi$/])
    })
  }
  abort.abort()
})
