// npm run screenshots: the pictures in the documents, taken of a node that runs for them, and of the bench's last report.

import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startMemoryNode } from '../contract/node.ts'
import { capture, type Shot } from './browser.ts'

const OUT = fileURLToPath(new URL('../../docs/images', import.meta.url))
/** The report of the last full run of `npm run bench`. */
const REPORT = new URL('../../bench/results/report.html', import.meta.url).href
const MAX_BYTES = 320 * 1024

const LONG =
  'The ferry at noon is cancelled because of the storm. Who has a ticket may take the one at four, or tomorrow ' +
  'the first; cars first. The office at the harbour is open until six, and knows more.'

type Published = readonly [channel: string, type: string, data: unknown]

/** A channel retains four: a reader that saw only the first of these receives a gap. */
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

async function picture(name: string, shot: Omit<Shot, 'out'>): Promise<void> {
  const out = join(OUT, `${name}.png`)
  await capture({ ...shot, out })
  const { size } = await stat(out)
  if (size > MAX_BYTES) throw new Error(`${out} has ${size} bytes, more than ${MAX_BYTES}`)
  process.stdout.write(`${out}: ${size} bytes\n`)
}

await mkdir(OUT, { recursive: true })
const node = await startMemoryNode({ HISTORY_EVENTS: '4' })
try {
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
} finally {
  await node.close()
}
for (const colorScheme of ['light', 'dark'] as const) {
  await picture(`report-${colorScheme}`, {
    url: REPORT,
    colorScheme,
    part: '.plots',
    width: 1280,
    height: 900,
  })
}
