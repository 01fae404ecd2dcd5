// `npm run console:load`: counts the frames that the console drops with 10,000 channels, and 2,000 events a second in
// the channel that a view shows.

import type { Page } from 'playwright-core'
import { WebSocket } from 'ws'
import '../support/built-console.ts'
import { type Node, startMemoryNode } from '../contract/node.ts'
import { argumentsOf, runMain } from '../support/command-line.ts'
import { startBrowser } from './browser.ts'

const CHANNELS = 10_000
const EVENTS_A_SECOND = 4000
const BUSY = 'channel:0'
const TURN_MS = 10
const LOOK_MS = 5000

const HELP = `npm run console:load

Opens each view of the console in Chromium while its node has ${CHANNELS} channels and publishes ${EVENTS_A_SECOND} events/s, half of them in
the channel that the view shows. Prints the share of frames that each view drops, beside that of an empty page.
`

/** Views by URL hash, each with a text that appears once it is loaded. */
const VIEWS: Readonly<Record<string, string>> = {
  now: 'Wire',
  channels: 'channel:0',
  'channels/channel:0': 'Rule and limits',
  'time?channel=channel:0': 'A reader at position',
  posts: 'Feed over sse',
}

export interface Frames {
  /** The share of a 60 Hz screen's frames that were dropped, 0 to 1. */
  readonly dropped: number
  /** The share of time that the main thread was busy, 0 to 1. */
  readonly busy: number
  /** The longest time between two frames, ms. */
  readonly longest: number
}

/** Follows all channels over one connection. */
async function followAll(node: Node): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  let answers = 0
  const all = new Promise<void>(resolve => {
    socket.on('message', data => {
      if (String(data).startsWith('{"ref"') && ++answers === CHANNELS) resolve()
    })
  })
  for (let i = 0; i < CHANNELS; i++) {
    socket.send(JSON.stringify({ ref: i, subscribe: `channel:${i}` }))
    if (i % 100 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  await all
  return socket
}

/** Publishes mostly to the two viewed channels, and some to the others. Returns a function that stops it. */
function publishAll(node: Node): () => void {
  let n = 0
  const timer = setInterval(() => {
    for (let i = 0; i < (EVENTS_A_SECOND * TURN_MS) / 1000; i++) {
      n++
      const data = JSON.stringify({ n, title: `event number ${n}` })
      void node.append(i % 2 === 0 ? BUSY : 'posts', data)
    }
    void node.append(`channel:${n % CHANNELS}`, '1')
  }, TURN_MS)
  return () => clearInterval(timer)
}

async function look(page: Page): Promise<Frames> {
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.setTimeDomain', { timeDomain: 'threadTicks' }).catch(() => {})
  await session.send('Performance.enable')
  const busy = async () => {
    const { metrics } = await session.send('Performance.getMetrics')
    return metrics.find(({ name }) => name === 'TaskDuration')?.value ?? 0
  }
  const before = await busy()
  const times = await page.evaluate<number[]>(`new Promise(resolve => {
    const times = []
    const end = performance.now() + ${LOOK_MS}
    requestAnimationFrame(function next(now) {
      times.push(now)
      if (now < end) requestAnimationFrame(next)
      else resolve(times)
    })
  })`)
  const spent = (await busy()) - before
  await session.detach()
  const between = times.slice(1).map((time, i) => time - (times[i] ?? 0))
  const dropped = between.reduce((sum, each) => sum + Math.max(0, Math.round((each * 60) / 1000) - 1), 0)
  return {
    dropped: dropped / (dropped + between.length),
    busy: (spent * 1000) / LOOK_MS,
    longest: Math.max(...between),
  }
}

const percent = (share: number) => `${(share * 100).toFixed(1)} %`

async function main(): Promise<void> {
  const { help } = argumentsOf()
  if (help) return void process.stdout.write(HELP)
  const node = await startMemoryNode({ MAX_CHANNELS: `${CHANNELS}` })
  const origin = `http://127.0.0.1:${node.port}`
  await node.append('posts', '{"title":"a post"}')
  const socket = await followAll(node)
  const end = publishAll(node)
  const browser = await startBrowser()
  for (const view of ['', ...Object.keys(VIEWS)]) {
    const page = await browser.newPage()
    if (view === '') await page.goto('data:text/html,<!doctype html>')
    else {
      await page.goto(`${origin}/console#/${view}`)
      await page
        .getByText(VIEWS[view] ?? '')
        .first()
        .waitFor()
    }
    const { dropped, busy, longest } = await look(page)
    console.log(
      `${(view || 'an empty page').padEnd(24)} ${percent(dropped)} of frames dropped, the longest ${longest.toFixed(0)} ms, main thread busy ${percent(busy)}`,
    )
    await page.close()
  }
  end()
  socket.terminate()
  await browser.close()
  await node.close()
  process.exit()
}

await runMain(main, HELP)
