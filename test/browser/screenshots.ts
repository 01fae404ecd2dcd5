// `npm run screenshots`: takes every picture in the documents. They show the console and the refresh wire of a node
// that is started for them, and the last report of the bench.

import { once } from 'node:events'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { WebSocket } from 'ws'
import { startMemoryNode, type Node } from '../contract/node.ts'
import '../support/built-console.ts'
import { capture, type Shot, startBrowser } from './browser.ts'

const OUT = fileURLToPath(new URL('../../docs/images', import.meta.url))
/** The report of the last full run of `npm run bench`. */
const REPORT = new URL('../../bench/results/report.html', import.meta.url).href
const MAX_BYTES = 320 * 1024

const LONG =
  'The ferry at noon is cancelled because of the storm. Tickets are valid for the ferry at four, and for the first one ' +
  'tomorrow; cars board first. The office at the harbour is open until six.'

type Published = readonly [channel: string, type: string, data: unknown]

/** The channel retains four events: a reader that saw only the first of these receives a gap. */
const EARLIER: readonly Published[] = [1, 2, 3, 4].map(n => [
  'sensors',
  'reading',
  { sensor: 'pier-1', wind: n },
])
const SEEN: readonly Published[] = [
  [
    'sensors',
    'reading',
    { sensor: 'pier-2', wind: { speed: 17.4, from: 'NNW' }, at: [54.32, 10.13], ok: true },
  ],
  ['harbour', 'notice', LONG],
  ['harbour', 'chat', 'مرحبا! متى تصل العبارة القادمة؟'],
]
const NEW: readonly Published[] = [
  ['harbour', 'chat', '<script>alert("never")</script> <b>not bold</b> <img src=x onerror=alert(1)>'],
  [
    'sensors',
    'alarm',
    { sensor: 'pier-3', text: 'Wave height above 2.5 m', level: 3, wave: { height: 2.7, from: 'NNW' } },
  ],
  ['harbour', 'chat', 'Coming in now ⚓ see you at berth 4 ☂'],
]

const pathOf = (name: string) => join(OUT, `${name}.png`)

async function picture(name: string, shot: Omit<Shot, 'out'>): Promise<void> {
  await capture({ ...shot, out: pathOf(name) })
  await checkSize(name)
}

async function checkSize(name: string): Promise<void> {
  const { size } = await stat(pathOf(name))
  if (size > MAX_BYTES) throw new Error(`${pathOf(name)} has ${size} bytes, more than ${MAX_BYTES}`)
  process.stdout.write(`${pathOf(name)}: ${size} bytes\n`)
}

async function refreshPictures(node: Node): Promise<void> {
  /** Publishes events one at a time, never two in the same millisecond. Returns the id of the last. */
  const publish = async (events: readonly Published[]) => {
    let id = ''
    for (const [channel, type, data] of events) {
      id = await node.publish(channel, JSON.stringify(data), 'application/json', `?type=${type}`)
      await sleep(2)
    }
    return id
  }
  const cursors = [
    await publish(EARLIER.slice(0, 1)),
    await publish([...EARLIER.slice(1), ...SEEN]),
  ].reverse()
  await publish(NEW)
  const url = `http://127.0.0.1:${node.port}/v1/refresh?channel=harbour&channel=sensors&cursor=${cursors}`
  for (const [name, colorScheme, width, height] of [
    ['refresh-light', 'light', 720, 640],
    ['refresh-dark', 'dark', 720, 640],
    ['refresh-phone', 'light', 360, 700],
  ] as const) {
    await picture(name, { url, colorScheme, width, height })
  }
}

/** Readers of the console's pictures, by wire, and the channels that they follow in turn. */
const READERS = { sse: 24, stream: 24, ws: 16 } as const
const CHANNELS = ['chat:lobby', 'chat:help', 'news', 'scores']
/** Time span of the plots of the Now view, and interval between two events, ms. */
const SHOWN_MS = 40_000
const EVERY_MS = 100

/** Connects the readers. Returns a function that disconnects them. */
async function readAll({ port }: Node): Promise<() => void> {
  const ends: (() => void)[] = []
  for (const [wire, readers] of Object.entries(READERS)) {
    for (let i = 0; i < readers; i++) {
      const url = `http://127.0.0.1:${port}/v1/${wire}?channel=${CHANNELS[i % CHANNELS.length]}`
      if (wire === 'ws') {
        const socket = new WebSocket(url.replace('http', 'ws'))
        await once(socket, 'open')
        ends.push(() => socket.terminate())
      } else {
        const abort = new AbortController()
        const { body } = await fetch(url, { signal: abort.signal })
        void body?.pipeTo(new WritableStream()).catch(() => {})
        ends.push(() => abort.abort())
      }
    }
  }
  return () => ends.forEach(end => end())
}

/** Publishes at a rate that rises and falls. Returns a function that stops it. */
function publishAll(node: Node): () => void {
  let turn = 0
  const timer = setInterval(() => {
    const channel = CHANNELS[turn++ % CHANNELS.length] ?? 'news'
    for (let n = 0; n < 2 + Math.sin(turn / 20); n++) void node.publish(channel, `{"n":${turn}}`)
  }, EVERY_MS)
  return () => clearInterval(timer)
}

async function consolePictures(): Promise<void> {
  const node = await startMemoryNode({ SOCKET_IO: '1' })
  const origin = `http://127.0.0.1:${node.port}/console#`
  const browser = await startBrowser()
  const shoot = async (page: Page, name: string) => {
    await page.screenshot({ path: pathOf(name) })
    await checkSize(name)
  }
  try {
    const endReaders = await readAll(node)
    const endPublisher = publishAll(node)
    const now = await browser.newPage({ colorScheme: 'light', viewport: { width: 1280, height: 920 } })
    await now.goto(`${origin}/now`)
    await sleep(SHOWN_MS)
    await shoot(now, 'console-now-light')
    endPublisher()
    endReaders()

    const bench = await browser.newPage({ colorScheme: 'dark', viewport: { width: 1280, height: 800 } })
    await bench.goto(`${origin}/workbench?channel=workbench`)
    await bench.locator('.pane .badge.good').nth(7).waitFor()
    for (const events of [1, 2, 3]) {
      await bench.getByRole('button', { name: 'Publish' }).click()
      await bench.locator(`.pane[data-events="${events}"]`).nth(7).waitFor()
    }
    await shoot(bench, 'console-workbench-dark')
  } finally {
    await browser.close()
    await node.close()
  }
}

await mkdir(OUT, { recursive: true })
const node = await startMemoryNode({ HISTORY_EVENTS: '4' })
try {
  await refreshPictures(node)
} finally {
  await node.close()
}
await consolePictures()
for (const colorScheme of ['light', 'dark'] as const) {
  await picture(`report-${colorScheme}`, {
    url: REPORT,
    colorScheme,
    part: '.plots',
    width: 1280,
    height: 900,
  })
}
