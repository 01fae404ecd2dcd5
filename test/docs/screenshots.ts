// `npm run docs:screenshots`: writes screenshots of the documentation site, light, dark and on a phone, to
// .cache/screenshots.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from '../../bench/files.ts'
import { capture } from '../browser/browser.ts'
import { temporaryFolder } from '../support/tools.ts'
import { buildSite, serveSite } from './site.ts'

const OUT = join(ROOT, '.cache', 'screenshots')
const PAGES = {
  home: '/',
  start: '/get-started/',
  sse: '/wires/sse',
  settings: '/reference/settings',
  brokers: '/benchmarks/brokers',
}
const FORMS = [
  ['light', 'light', 1280, 900],
  ['dark', 'dark', 1280, 900],
  ['phone', 'light', 390, 844],
] as const

const folder = temporaryFolder()
await mkdir(OUT, { recursive: true })
await buildSite(folder)
const site = await serveSite(folder)
for (const [name, path] of Object.entries(PAGES)) {
  for (const [form, colorScheme, width, height] of FORMS) {
    const out = join(OUT, `${name}-${form}.png`)
    await capture({ url: `${site.url}${path}`, out, colorScheme, width, height })
    process.stdout.write(`${out}\n`)
  }
}
site.close()
