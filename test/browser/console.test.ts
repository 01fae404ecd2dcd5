// The console in a real browser: every view at three widths and in both themes, checked by axe-core; its use with only
// the keyboard; the workbench over all wires; and the view of a token with few rights.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Browser, Page } from 'playwright-core'
import t from 'tap'
import { startMemoryNode } from '../contract/node.ts'
import '../support/built-console.ts'
import { ClosedWorld } from '../support/closed-node.ts'
import { until } from '../support/until.ts'
import { startBrowser, withoutBrowser } from './browser.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Views by URL hash, each with a text that appears once it is loaded. */
const VIEWS: Readonly<Record<string, string>> = {
  now: 'No problems.',
  channels: 'news',
  'channels/news': 'Rule and limits',
  'workbench?channel=news': 'long-poll',
  'time?channel=news': 'A reader at position',
  explain: 'Why was an event not delivered?',
  posts: 'Feed over sse',
}

const WIDTHS = [400, 1024, 1600]

/** Elements that extend beyond the left or right edge of the window, except within elements that scroll or wrap. */
const CUT_OFF = `[...document.querySelectorAll('main *, header *')].filter(each => {
  if (each.closest('.scroll, .events, pre, .u-wrap, .skip, .hidden') !== null) return false
  const { left, right, width } = each.getBoundingClientRect()
  return width > 0 && (left < -1 || right > innerWidth + 1)
}).map(each => each.outerHTML.slice(0, 120))`

/** Panels, figures and controls that overlap. */
const OVERLAPPING = `(() => {
  const boxes = [...document.querySelectorAll('.panel, .figure, button, input, select, textarea, h1, h2')].map(each => ({
    each, box: each.getBoundingClientRect(),
  }))
  return boxes.flatMap(({ each, box }, i) => boxes.slice(i + 1).filter(({ each: other, box: b }) =>
    !each.contains(other) && !other.contains(each) && box.width > 0 && b.width > 0 &&
    Math.min(box.right, b.right) - Math.max(box.left, b.left) > 1 &&
    Math.min(box.bottom, b.bottom) - Math.max(box.top, b.top) > 1,
  ).map(({ each: other }) => each.outerHTML.slice(0, 80) + ' | ' + other.outerHTML.slice(0, 80)))
})()`

interface Violation {
  readonly id: string
  readonly nodes: readonly { readonly html: string }[]
}

async function show(page: Page, origin: string, view: string): Promise<void> {
  await page.goto(`${origin}/console#/${view}`)
  await page
    .getByText(VIEWS[view] ?? '')
    .first()
    .waitFor()
}

async function signIn(page: Page, credential: string): Promise<void> {
  await page.locator('.token > button').click()
  await page.getByLabel('Token or API key').fill(credential)
  await page.getByRole('button', { name: 'Use it' }).click()
}

if (withoutBrowser === false) await inBrowser(await startBrowser())
else t.test('the console in a browser', { skip: withoutBrowser }, async () => {})

async function inBrowser(browser: Browser): Promise<void> {
  t.teardown(() => browser.close())
  const node = await startMemoryNode({ SOCKET_IO: '1' })
  t.teardown(() => node.close())
  const origin = `http://127.0.0.1:${node.port}`
  await node.append('news', ...Array.from({ length: 30 }, (_, n) => JSON.stringify({ title: `number ${n}` })))

  const reader = new AbortController()
  t.teardown(() => reader.abort())
  const { body } = await fetch(`${origin}/v1/stream?channel=news`, { signal: reader.signal })
  // An unread body is discarded when its response is collected.
  void body?.pipeTo(new WritableStream()).catch(() => {})

  t.test('nothing is clipped or overlaps, and axe-core finds no violation', async t => {
    for (const colorScheme of ['light', 'dark'] as const) {
      const page = await browser.newPage({ colorScheme })
      page.on('pageerror', error => t.fail(error.message))
      page.on('request', request =>
        t.ok(request.url().startsWith(origin), `requests only the node: ${request.url()}`),
      )
      for (const view of Object.keys(VIEWS)) {
        await show(page, origin, view)
        for (const width of WIDTHS) {
          await page.setViewportSize({ width, height: 900 })
          const what = `${view}, ${colorScheme}, ${width} px`
          // Plots are redrawn only after the browser has notified them of the new width.
          const fits = () => page.evaluate(`document.documentElement.scrollWidth === ${width}`)
          await t.resolves(until('the page fits', fits), `${what}: no scrolling sideways`)
          t.strictSame(await page.evaluate(CUT_OFF), [], `${what}: nothing is cut off`)
          t.strictSame(await page.evaluate(OVERLAPPING), [], `${what}: nothing overlaps`)
        }
        await page.evaluate(AXE)
        const found = await page.evaluate<Violation[]>('axe.run().then(({ violations }) => violations)')
        t.strictSame(
          found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`),
          [],
          `${view}, ${colorScheme}: axe-core`,
        )
      }
      await page.close()
    }
  })

  t.test('the page opens with the workbench', async t => {
    const page = await browser.newPage()
    await page.goto(`${origin}/console`)
    await page.getByRole('heading', { name: 'Workbench', exact: true }).waitFor()
    await page.getByRole('link', { name: 'Now' }).click()
    await page.getByRole('heading', { name: 'Now', exact: true }).waitFor()
    await page.getByRole('link', { name: 'fanwire' }).click()
    await page.getByRole('heading', { name: 'Workbench', exact: true }).waitFor()
    t.pass('as does the link of the name')
    await page.close()
  })

  t.test('an event published on the workbench arrives on all eight wires', async t => {
    const page = await browser.newPage()
    const has = (events: number, panes: number) =>
      page
        .locator(`.pane[data-events="${events}"]`)
        .nth(panes - 1)
        .waitFor()
    await show(page, origin, 'workbench?channel=news')
    await page.locator('.pane .badge.good').nth(7).waitFor()
    await page.getByRole('button', { name: 'Publish' }).click()
    await has(1, 8)
    t.pass('each has it once')
    await page.getByRole('button', { name: 'Cut ws' }).click()
    await page.getByRole('button', { name: 'Publish' }).click()
    await has(2, 7)
    await page.getByRole('button', { name: 'Resume ws' }).click()
    await has(2, 8)
    t.pass('a wire that was cut resumes where it was')
    await page.close()
  })

  t.test('with an API key all eight wires of the workbench open', async t => {
    const world = new ClosedWorld()
    const closed = await startMemoryNode(world.settings)
    t.teardown(() => closed.close())
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${closed.port}/console#/workbench?channel=room:1`)
    await signIn(page, world.keys.all.key)
    await page.locator('.pane .badge.good').nth(7).waitFor()
    t.pass('all are open')
    await page.close()
  })

  t.test('the workbench names the setting of a wire that is off', async t => {
    const plain = await startMemoryNode()
    t.teardown(() => plain.close())
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${plain.port}/console`)
    await page.locator('[data-wire="socket.io"]').getByText('FANWIRE_SOCKET_IO=1').waitFor()
    t.pass('socket.io')
    await page.close()
  })

  t.test('a refused wire of the workbench closes each WebSocket that it opened', async t => {
    const world = new ClosedWorld()
    const closed = await startMemoryNode(world.settings)
    t.teardown(() => closed.close())
    const page = await browser.newPage()
    const sockets = { '/v1/ws': 0, '/socket.io/': 0 }
    page.on('websocket', socket => {
      sockets[new URL(socket.url()).pathname as keyof typeof sockets]++
    })
    await page.goto(`http://127.0.0.1:${closed.port}/console`)
    await signIn(page, world.token())
    await page.goto(`http://127.0.0.1:${closed.port}/console#/workbench?channel=inbox:bob`)
    await until('both have tried four times', () => Object.values(sockets).every(tries => tries >= 4))
    // The node notices a little later that a connection was closed.
    for (const wire of ['ws', 'socket.io']) {
      await until(`${wire}: at most one of its connections is open`, async () => {
        const { body } = await closed.get('/v1/admin/connections', {
          authorization: `Bearer ${world.keys.all.key}`,
        })
        const { connections } = JSON.parse(body) as { connections: { wire: string }[] }
        return connections.filter(each => each.wire === wire).length <= 1
      })
    }
    t.pass('all others were closed')
    await page.close()
  })

  t.test('the search of channels finds a name beyond the first pages', async t => {
    const crowded = await startMemoryNode({ MAX_CHANNELS: '600' })
    t.teardown(() => crowded.close())
    const readers = new AbortController()
    t.teardown(() => readers.abort())
    const names = Array.from({ length: 1200 }, (_, n) => `many:${n + 1000}`)
    for (const part of [names.slice(0, 600), names.slice(600)]) {
      const query = part.map(name => `channel=${name}`).join('&')
      const url = `http://127.0.0.1:${crowded.port}/v1/stream?${query}`
      const { body } = await fetch(url, { signal: readers.signal })
      void body?.pipeTo(new WritableStream()).catch(() => {})
    }
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${crowded.port}/console#/channels`)
    await page.getByRole('link', { name: 'many:1000' }).waitFor()
    t.equal(await page.locator('tbody tr').count(), 200, 'a page without a search')
    await page.getByRole('searchbox').fill('2199')
    await page.getByRole('link', { name: 'many:2199' }).waitFor()
    t.equal(await page.locator('tbody tr').count(), 1)
    await page.getByRole('searchbox').fill('2200')
    await page.getByText('No node follows a channel with this name.').waitFor()
    await page.close()
  })

  t.test('a link into a view that is already open moves it there', async t => {
    const page = await browser.newPage()
    await show(page, origin, 'time?channel=news')
    const position = page.locator('.scrubber > code')
    const idOf = (place: number) => page.locator('.events li').nth(place).getByRole('link')
    const third = idOf(2)
    const id = (await third.textContent()) ?? ''
    const before = (await idOf(3).textContent()) ?? ''
    t.not(await position.textContent(), id)
    await third.click()
    await position.filter({ hasText: id }).waitFor()
    await page.getByRole('slider').press('ArrowLeft')
    await position.filter({ hasText: before }).waitFor()
    await idOf(0).filter({ hasText: before }).waitFor()
    for (const turn of ['the first replay', 'a repeated one']) {
      await page.getByRole('button', { name: 'Replay' }).click()
      await page.getByText('ended · 3 events').waitFor()
      t.pass(turn)
      await page.getByRole('button', { name: 'Stop' }).click()
    }

    await show(page, origin, 'workbench?channel=news')
    await page.goto(`${origin}/console#/workbench?channel=other`)
    const isOther = () => page.evaluate(`document.querySelector('form input').value === 'other'`)
    await until('the form names the other channel', isOther)
    await page.close()
  })

  t.test('a link to a position of an earlier epoch shows that position', async t => {
    const [earlier = ''] = await node.append('cleared', '1', '2')
    await node.log.clear('cleared')
    await node.append('cleared', '3')
    const page = await browser.newPage()
    await page.goto(`${origin}/console#/time?channel=cleared&at=${earlier}`)
    await page.getByText('another epoch').waitFor()
    t.equal(await page.locator('.scrubber > code').textContent(), earlier)
    await page.goto(`${origin}/console#/time?channel=cleared&at=unknown-1`)
    await page.getByText('Gap: events after unknown-2').waitFor()
    await page.close()
  })

  t.test('a long list renders only the visible events', async t => {
    await node.append('many', ...Array.from({ length: 150 }, (_, n) => `${n + 1}`))
    const page = await browser.newPage()
    await page.goto(`${origin}/console#/channels/many`)
    await page.getByLabel('From').selectOption('earliest')
    const rows = page.locator('.events li')
    const scroll = (top: number) => page.evaluate(`document.querySelector('.events').scrollTo(0, ${top})`)
    await rows.first().getByText('150', { exact: true }).waitFor()
    t.equal(await rows.count(), 30)
    await scroll(1e6)
    await rows.nth(59).waitFor()
    await scroll(0)
    await rows.nth(30).waitFor({ state: 'detached' })
    t.equal(await rows.count(), 30)
    await page.close()
  })

  t.test('a paused tail continues where it was', async t => {
    const [first = ''] = await node.append('paused', '"first"')
    const page = await browser.newPage()
    await page.goto(`${origin}/console#/channels/paused`)
    await page.getByText('live · 0 events').waitFor()
    await node.append('paused', '"second"')
    await page.locator('.events .data', { hasText: 'second' }).waitFor()
    await page.getByRole('button', { name: 'Pause' }).click()
    await until('no reader is left', () => node.hub.stats().readers === 1)
    await node.append('paused', '"third"')
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByText('live · 2 events').waitFor()
    t.strictSame(await page.locator('.events .data').allTextContents(), ['third', 'second'])
    await page.getByLabel('From').selectOption('position')
    const position = page.getByRole('textbox', { name: 'Position' })
    await position.fill(first)
    await position.press('Enter')
    await page.getByText('live · 2 events').waitFor()
    await page.getByLabel('From').selectOption('time')
    await page.getByLabel('Time', { exact: true }).fill('2020-01-01T00:00:00')
    await page.getByText('live · 3 events').waitFor()
    await page.close()
  })

  t.test('a tail that the node ends reconnects', async t => {
    const world = new ClosedWorld()
    const closed = await startMemoryNode(world.settings)
    t.teardown(() => closed.close())
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${closed.port}/console#/channels/room:1`)
    await signIn(page, world.token())
    await page.getByText('live · 0 events').waitFor()
    const headers = { authorization: `Bearer ${world.keys.all.key}`, 'content-type': 'application/json' }
    const url = `http://127.0.0.1:${closed.port}/v1/admin/users/ann/disconnect`
    // Awaited from before, because the page reconnects soon.
    const reconnecting = page.getByText('reconnecting · 0 events').waitFor()
    t.equal((await fetch(url, { method: 'POST', headers, body: '{}' })).status, 202)
    await reconnecting
    await closed.append('room:1', '1')
    await page.getByText('live · 1 event').waitFor()
    await page.close()
  })

  t.test('a page that follows a channel counts as one reader, until it shows another view', async t => {
    const readers = async () => {
      const { body } = await node.get('/v1/channels/followed')
      return (JSON.parse(body) as { readers: number }).readers
    }
    const pages = await Promise.all([browser.newPage(), browser.newPage()])
    for (const page of pages) {
      await page.goto(`${origin}/console#/channels/followed`)
      await page.getByText('live ·').waitFor()
    }
    t.equal(await readers(), 2)
    for (const page of pages) await show(page, origin, 'now')
    await until('no reader is left', async () => (await readers()) === 0)
    await until('only the reader of this test is left', () => node.hub.stats().readers === 1)
    for (const page of pages) await page.close()
  })

  t.test('the keyboard alone reaches a channel and publishes there', async t => {
    const page = await browser.newPage()
    await show(page, origin, 'now')
    const tabTo = async (name: string) => {
      for (let presses = 0; presses < 40; presses++) {
        await page.keyboard.press('Tab')
        const names = await page.evaluate<string[]>(
          '[document.activeElement.textContent, document.activeElement.labels?.[0]?.firstChild.textContent]',
        )
        if (names.some(each => each?.trim() === name)) return
      }
      t.fail(`Tab does not reach ${name}`)
    }
    await tabTo('Channels')
    await page.keyboard.press('Enter')
    await page.getByRole('searchbox').waitFor()
    await tabTo('Name, or a pattern such as')
    await page.keyboard.type('by-keyboard')
    await page.keyboard.press('Enter')
    await page.getByText('Rule and limits').waitFor()
    await tabTo('Type (optional)')
    await page.keyboard.type('typed')
    await page.keyboard.press('Enter')
    await page.getByText('Published as').waitFor()
    await page.locator('.events b', { hasText: 'typed' }).waitFor()
    t.equal((await node.log.state('by-keyboard')).count, 1)
    await page.close()
  })

  t.test('an explanation says that the application decides', async t => {
    const world = new ClosedWorld()
    world.writeRules(`
channels: [{ match: "app:*", subscribe: hook }]
hooks: { subscribe: { url: "http://127.0.0.1:9/" } }
`)
    const closed = await startMemoryNode(world.settings)
    t.teardown(() => closed.close())
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${closed.port}/console#/explain`)
    await signIn(page, world.keys.all.key)
    const explained = page.locator('.panel', { hasText: 'Is it allowed?' })
    for (const [channel, verdict] of [
      ['app:1', 'The application decides.'],
      ['other', 'No.'],
    ] as const) {
      await explained.getByRole('textbox', { name: 'Token' }).fill(world.token({ caps: [] }))
      await explained.getByLabel('Channel').fill(channel)
      await explained.getByRole('button').click()
      await explained.getByText(verdict, { exact: true }).waitFor()
      t.pass(verdict)
    }
    await page.close()
  })

  t.test('a token with few rights shows only the views that it allows', async t => {
    const world = new ClosedWorld()
    const token = world.token()
    const closed = await startMemoryNode(world.settings)
    t.teardown(() => closed.close())
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${closed.port}/console`)
    const views = page.getByRole('navigation', { name: 'Views' })
    await page.getByText('Without the right').waitFor()
    await page.getByRole('heading', { name: 'Channels' }).waitFor()
    t.notMatch(await views.textContent(), /Now|Explain/, 'nobody')
    await signIn(page, token)
    await page.goto(`http://127.0.0.1:${closed.port}/console#/channels/room:1`)
    await page.getByText('live ·').waitFor()
    t.notMatch(await views.textContent(), /Now|Explain/, 'a reader')
    t.notMatch(page.url(), token)
    await signIn(page, world.keys.all.key)
    await views.getByText('Explain').waitFor()
    await signIn(page, 'made-up')
    await page.getByText('does not accept this token').waitFor()
    await page.close()
  })
}
