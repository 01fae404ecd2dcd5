// The page that reloads itself, in a real browser.

import { isDeepStrictEqual } from 'node:util'
import type { Browser } from 'playwright-core'
import t from 'tap'
import { startMemoryNode } from '../contract/node.ts'
import { startBrowser, withoutBrowser } from './browser.ts'
import { until } from '../support/until.ts'

const PHONE = { width: 360, height: 640 }

if (withoutBrowser === false) await inBrowser(await startBrowser())
else t.test('the refresh page in a browser', { skip: withoutBrowser }, async () => {})

async function inBrowser(browser: Browser): Promise<void> {
  const node = await startMemoryNode()
  t.teardown(async () => {
    await browser.close()
    await node.close()
  })
  const url = (query: string) => `http://127.0.0.1:${node.port}/v1/refresh?${query}`

  t.test('reloads without JavaScript, and marks new events', async t => {
    await node.append('news', '"seen"')
    const page = await browser.newPage({ javaScriptEnabled: false })
    await page.goto(url('channel=news&every=5'))
    // Some of what it shows lasts only until the next reload, which is late enough to see it on a busy machine.
    // One evaluation reads everything, because the page may reload before a second one.
    const look = `[document.title, ...[...document.querySelectorAll('li')].map(each => each.className + ':' +
      each.querySelector('.data').textContent)]`
    const shows = (...expected: string[]) =>
      until(`it shows ${expected}`, async () =>
        isDeepStrictEqual(await page.evaluate<string[]>(look).catch(() => []), expected),
      )
    await shows('news', ':seen')
    await node.append('news', '"first"')
    await shows('(1) news', 'new:first', ':seen')
    await node.append('news', '"second"', '"third"')
    await shows('(2) news', 'new:third', 'new:second', ':first', ':seen')
    await shows('news', ':third', ':second', ':first', ':seen')
    t.pass('all of it')
    await page.close()
  })

  t.test('fits a phone screen, and runs no code from an event', async t => {
    const long = 'x'.repeat(500)
    const events = [
      JSON.stringify(long),
      JSON.stringify({ [long]: long, nested: { [long]: [long, long] }, empty: {} }),
      JSON.stringify(Array.from({ length: 100 }, (_, n) => n)),
      JSON.stringify('<script>document.title = "run"</script><img src=x onerror="document.title = \'run\'">'),
      JSON.stringify('مرحبا! '.repeat(50)),
      JSON.stringify(`${'\u{1f6a2}'.repeat(200)}\n\ttabs and\nlines`),
    ]
    const channel = 'c'.repeat(200)
    await node.append(channel, ...events)
    await node.append(channel, { data: Buffer.from('1'), type: 't'.repeat(64) })
    const page = await browser.newPage({ viewport: PHONE })
    // A long name, a gap, and several channels.
    await page.goto(url(`channel=${channel}&channel=news&every=3600&cursor=${'e'.repeat(16)}-7,earliest`))
    t.equal(await page.locator('li.gap').count(), 1)
    t.equal(await page.locator('li.new').count(), 11)
    t.equal(await page.evaluate<number>('document.documentElement.scrollWidth'), PHONE.width)
    const wide = await page.evaluate<string[]>(
      '[...document.querySelectorAll("body *")].filter(each => each.getBoundingClientRect().right > innerWidth).map(each => each.outerHTML.slice(0, 200))',
    )
    t.same(wide, [])
    t.notMatch(await page.title(), 'run')
    await page.close()
  })
}
