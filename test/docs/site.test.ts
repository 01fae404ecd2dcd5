// The documentation site builds without dead links, its search finds settings, error codes and routes, its pages fit a
// phone, and its reference matches the code.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { ROOT } from '../../bench/files.ts'
import { settingTexts } from '../../services/config/text.ts'
import { CODES } from '../../services/errors.ts'
import { startBrowser, withoutBrowser } from '../browser/browser.ts'
import { startMemoryNode } from '../contract/node.ts'
import { temporaryFolder } from '../support/tools.ts'
import { until } from '../support/until.ts'
import { anchorsOf, documents } from './blocks.ts'
import { anchorOf, documentedRoutes, generated, routesOfNode } from './reference.ts'
import { buildSite, serveSite } from './site.ts'

t.setTimeout(600_000)

t.test('the reference equals the output of `npm run docs`', async t => {
  for (const [path, texts] of Object.entries(generated())) {
    const document = readFileSync(join(ROOT, path), 'utf8')
    for (const [name, text] of Object.entries(texts)) t.ok(document.includes(text.trim()), `${path}: ${name}`)
  }
})

t.test('every route is documented, and no other', async t => {
  t.strictSame([...documentedRoutes].sort(), (await routesOfNode()).sort())
})

t.test('every metric is documented, and no other', async t => {
  const node = await startMemoryNode()
  const { body } = await node.get('/metrics')
  await node.close()
  const named = (text: string) => [...new Set(text.match(/\bfanwire_[a-z_]+\b/g))].sort()
  const measured = named([...body.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name).join(' '))
  t.strictSame(named(readFileSync(join(ROOT, 'docs/operate/metrics.md'), 'utf8')), measured)
})

t.test('links between documents outside the site resolve', async t => {
  for (const file of documents().filter(path => !path.startsWith('docs/'))) {
    const text = readFileSync(join(ROOT, file), 'utf8').replaceAll(/```.*?```/gs, '')
    for (const [, link = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? file : join(file, '..', path)
      t.ok(existsSync(join(ROOT, target)), `${file}: ${link}`)
      if (anchor !== undefined) t.ok(anchorsOf(target).includes(anchor), `${file}: ${link}`)
    }
  }
})

const folder = temporaryFolder()

t.test('the site builds without dead links', async t => {
  await buildSite(folder)
  t.ok(existsSync(join(folder, 'wires/sse.html')))
})

t.test('in a browser', { skip: withoutBrowser }, async t => {
  const site = await serveSite(folder)
  const browser = await startBrowser()
  t.teardown(async () => {
    await browser.close()
    site.close()
  })
  const every = process.env.SEARCHES === 'all' ? 1 : 10
  await t.test('the search finds settings, error codes and routes', t =>
    searches(t, browser, site.url, every),
  )
  await t.test('every page fits a phone screen', t => fitsPhone(t, browser, site.url))
})

/** Number of windows that search in parallel, because the search box waits after each key. Each builds an index. */
const WINDOWS = 2

/** `every`: checks one of this many search terms. `npm run docs:search` checks all. */
async function searches(t: Test, browser: Browser, url: string, every: number): Promise<void> {
  const wanted = [
    ...settingTexts().map(({ env }) => [env, `/reference/settings#${env.toLowerCase()}`]),
    ...Object.keys(CODES).map(code => [code, `/reference/errors#${code.toLowerCase()}`]),
    ...documentedRoutes.map(route => [route, `/reference/routes#${anchorOf(route)}`]),
  ].filter((_, i) => i % every === 0)
  const next = wanted.values()
  const search = async () => {
    const page = await browser.newPage()
    await page.goto(url)
    // A click before the page's script has run opens nothing.
    await until('the search box opens', async () => {
      if (await page.locator('.VPLocalSearchBox').isVisible()) return true
      await page.locator('.DocSearch-Button').first().dispatchEvent('click')
      return false
    })
    for (const [text = '', link = ''] of next) t.match(await results(page, text, link), [link], text)
    await page.close()
  }
  await Promise.all(Array.from({ length: WINDOWS }, search))
}

/** `[expected]` once it is among the first three results of a search; after a long time without it, all results. */
async function results(page: Page, text: string, expected: string): Promise<string[]> {
  await page.locator('.VPLocalSearchBox input.search-input').fill(text)
  const look = () =>
    page.evaluate<string[]>(
      `[...document.querySelectorAll('.VPLocalSearchBox a.result')].slice(0, 3).map(each => each.getAttribute('href'))`,
    )
  const found = async () => (await look()).includes(expected)
  return until(`a search for ${text}`, found).then(() => [expected], look)
}

async function fitsPhone(t: Test, browser: Browser, url: string): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 390, height: 844 } })
  const pages = documents()
    .filter(path => path.startsWith('docs/'))
    .map(path => path.replace(/^docs/, '').replace(/(index)?\.md$/, ''))
  for (const path of pages) {
    const errors: string[] = []
    page.removeAllListeners('pageerror')
    page.on('pageerror', error => errors.push(String(error)))
    await page.goto(`${url}${path}`)
    t.ok((await page.evaluate<number>('document.documentElement.scrollWidth')) <= 390, path)
    t.strictSame(errors, [], path)
  }
  await page.close()
}
