// A real browser: the system's own chromium, driven by playwright-core. It is never downloaded.

import { type Browser, chromium } from 'playwright-core'
import { pathOf, without } from '../support/tools.ts'

/** Why a test that needs a browser is skipped; false where there is one. */
export const withoutBrowser: string | false = without('chromium')

export function startBrowser(): Promise<Browser> {
  const executablePath = pathOf('chromium')
  if (executablePath === undefined) throw new Error('chromium is not installed: apt-get install chromium')
  return chromium.launch({ executablePath, args: ['--no-sandbox'] })
}

export interface Shot {
  /** URL of a page or of a file (`file:///…`). */
  readonly url: string
  /** Path of the PNG to write. */
  readonly out: string
  readonly colorScheme: 'light' | 'dark'
  /** Size of the window, in CSS pixels. */
  readonly width: number
  readonly height: number
  /** A CSS selector: captures only that part of the page. By default, the window is captured. */
  readonly part?: string
}

/** Takes a screenshot of a page. */
export async function capture({ url, out, colorScheme, width, height, part }: Shot): Promise<void> {
  const browser = await startBrowser()
  try {
    const page = await browser.newPage({ colorScheme, viewport: { width, height } })
    await page.goto(url)
    await (part === undefined ? page : page.locator(part)).screenshot({ path: out })
  } finally {
    await browser.close()
  }
}
