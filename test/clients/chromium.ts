// Clients that run in Chromium: the same modules as in Node, and the packages as npm delivers them. One page runs all
// of them.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startBrowser } from '../browser/browser.ts'
import type { Host } from './list.ts'
import type { Hear, Message, Target } from './program.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** URL paths of the packages. */
const PACKAGES = {
  '@microsoft/fetch-event-source': '/node_modules/@microsoft/fetch-event-source/lib/esm/index.js',
  'event-source-polyfill': '/node_modules/event-source-polyfill/src/eventsource.js',
  'sse.js': '/node_modules/sse.js/lib/sse.js',
  'socket.io-client': '/node_modules/socket.io-client/dist/socket.io.esm.min.js',
}
const PAGE = `<!doctype html>
<title>clients</title>
<script type="importmap">${JSON.stringify({ imports: PACKAGES })}</script>
<script type="module" src="/test/clients/javascript/page.js"></script>`

/** The globals that page.js defines. */
interface InPage {
  startClient(name: string, targets: readonly Target[], client: number): Promise<void>
}

export async function startChromium(): Promise<Host> {
  const server = createServer(serve).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const browser = await startBrowser()
  const page = await browser.newPage()
  const hearers: Hear[] = []
  const notes: string[] = []
  page.on('console', line => notes.push(line.text()))
  page.on('pageerror', error => notes.push(error.message))
  await page.exposeFunction('hear', (client: number, target: number, message: Message) =>
    hearers[client]?.(target, message),
  )
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  return {
    async start(name, targets, hear) {
      await page.evaluate(([...order]) => (globalThis as unknown as InPage).startClient(...order), [
        name,
        targets,
        hearers.push(hear) - 1,
      ] as const)
      // Clients end with the page.
      return { notes, stop: async () => {} }
    },
    async close() {
      await browser.close()
      server.close()
    },
  }
}

/** Serves files of the project, and packages as a bundler would resolve them. */
const serve: RequestListener = ({ url = '/' }, answer) => {
  if (url === '/') return void answer.setHeader('content-type', 'text/html').end(PAGE)
  try {
    const text = readFileSync(join(ROOT, extname(url) === '' ? `${url}.js` : url), 'utf8')
    answer.setHeader('content-type', 'text/javascript').end(isCommonJs(text) ? asModule(text) : text)
  } catch {
    answer.writeHead(404).end()
  }
}

function isCommonJs(text: string): boolean {
  return text.includes('module.exports')
}

function asModule(text: string): string {
  return `const module = { exports: {} }; const { exports } = module;\n${text}\nexport default module.exports`
}
