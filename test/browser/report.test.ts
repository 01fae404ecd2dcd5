// The report of the transports' bench in a browser: nothing overflows the page or its plot, and nothing
// overlaps, in either theme and on a phone.

import t from 'tap'
import { startBrowser, withoutBrowser } from './browser.ts'

const REPORT = new URL('../../bench/results/report.html', import.meta.url).href

interface Seen {
  readonly overflow: number
  readonly plots: number
  readonly outside: readonly string[]
  readonly overlapping: readonly string[]
}

interface Element {
  readonly textContent: string
  readonly scrollWidth: number
  readonly clientWidth: number
  getBoundingClientRect(): Readonly<Record<'left' | 'right' | 'top' | 'bottom' | 'width', number>>
  querySelectorAll(selector: string): Iterable<Element>
}

/** The browser globals used here (the tests are compiled for Node). */
interface Page {
  readonly document: Element & { readonly documentElement: Element }
  getComputedStyle(element: Element): { readonly visibility: string }
}

/** Runs in the page. */
function look(): Seen {
  const { document, getComputedStyle } = globalThis as unknown as Page
  const outside: string[] = []
  const overlapping: string[] = []
  const shown = [...document.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0)
  for (const svg of shown) {
    const frame = svg.getBoundingClientRect()
    const texts = [...svg.querySelectorAll('text')]
      .filter(text => text.textContent.trim() !== '' && getComputedStyle(text).visibility !== 'hidden')
      .map(text => ({ what: text.textContent, box: text.getBoundingClientRect() }))
      .filter(({ box }) => box.width > 0)
    for (const { what, box } of texts) {
      const inside =
        box.left >= frame.left - 1 &&
        box.right <= frame.right + 1 &&
        box.top >= frame.top - 1 &&
        box.bottom <= frame.bottom + 1
      if (!inside) outside.push(what)
    }
    for (const [i, a] of texts.entries()) {
      for (const b of texts.slice(i + 1)) {
        const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left)
        const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top)
        // Boxes of consecutive lines touch.
        if (wide > 2 && high > 4) overlapping.push(`${a.what} / ${b.what}`)
      }
    }
  }
  const { scrollWidth, clientWidth } = document.documentElement
  return { overflow: scrollWidth - clientWidth, plots: shown.length, outside, overlapping }
}

t.test('nothing in the report is clipped or overlaps', { skip: withoutBrowser }, async t => {
  const browser = await startBrowser()
  t.teardown(() => browser.close())
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of [1280, 400]) {
      const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } })
      const asked: string[] = []
      page.on('request', request => asked.push(request.url()))
      await page.goto(REPORT)
      const seen = await page.evaluate(look)
      const what = `${colorScheme}, ${width} px wide`
      t.ok(seen.plots >= 6, `${what}: plots`)
      t.equal(seen.overflow, 0, `${what}: the page does not scroll sideways`)
      t.strictSame(seen.outside, [], `${what}: no text outside of its plot`)
      t.strictSame(seen.overlapping, [], `${what}: no text over another`)
      t.strictSame(asked, [REPORT], `${what}: nothing else is requested`)
      await page.close()
    }
  }
})
