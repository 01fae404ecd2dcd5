// Every client of the suite, unmodified, from its registry. A new one is a line here and a file in the folder of its
// language.

import { fileURLToPath } from 'node:url'
import { withoutBrowser } from '../browser/browser.ts'
import { startChromium } from './chromium.ts'
import { type Hear, type Program, type Running, startProgram, type Target } from './program.ts'
import { prepareGo, withoutGo } from './go.ts'
import { preparePython, withoutPython } from './python.ts'

/** What runs the clients of one kind. */
export interface Host {
  /** Starts a client, by the name of its program. */
  start(program: string, targets: readonly Target[], hear: Hear): Promise<Running>
  close(): Promise<void>
}

export interface Client {
  readonly name: string
  readonly program: string
  /** Reads `/v1/sse`. */
  readonly sse: boolean
  /** Where a cut loses or breaks an event whatever a server does, and the library's line that does it. */
  readonly breaks?: Readonly<Partial<Record<Place, string>>>
  /** Hands out a goodbye, which has a `retry:` and no data, as a message, and the library's line that does it. */
  readonly handsOutGoodbyes?: string
}

/** Where an event is cut. */
export type Place = 'within its data' | 'behind its data' | 'within its id' | 'before its blank line'

const TAKES_IDS_EARLY = {
  eventsource2: { 'before its blank line': 'lib/eventsource.js:332 takes the id when its line has come' },
  fetchEventSource: { 'before its blank line': 'lib/esm/parse.js:84 takes the id when its line has come' },
}
const R3LABS = {
  breaks: {
    'within its data': 'event.go:51 takes what came of a block for the whole',
    'behind its data': 'event.go:51 takes what came of a block for the whole',
    'within its id': 'event.go:51 takes what came of a block for the whole',
  },
  handsOutGoodbyes: 'event.go:51 takes what came of a block for the whole, event.go:26 a retry for content',
}

export interface HostOfClients {
  /** Why it is unavailable here; false where it is available. */
  readonly without: string | false
  readonly clients: readonly Client[]
  /** Downloads its dependencies, if they are missing. */
  open(): Promise<Host>
}

export const HOSTS: readonly HostOfClients[] = [
  {
    without: false,
    clients: [
      sse('eventsource 2', 'eventsource-2', { breaks: TAKES_IDS_EARLY.eventsource2 }),
      sse('eventsource 3', 'eventsource-3'),
      sse('eventsource 4', 'eventsource-4'),
      sse('fetch-event-source', 'fetch-event-source', { breaks: TAKES_IDS_EARLY.fetchEventSource }),
      sse('fetch-event-source with JSON.parse', 'fetch-event-source-json', {
        breaks: TAKES_IDS_EARLY.fetchEventSource,
      }),
      sse('event-source-polyfill', 'event-source-polyfill'),
      other('socket.io-client', 'socket-io'),
      other('socket.io-client over WebSocket', 'socket-io-websocket'),
    ],
    open: async () =>
      programs(name => ({ command: process.execPath, args: [file('javascript/run.js'), name] })),
  },
  {
    without: withoutBrowser,
    clients: [
      sse('EventSource of Chromium', 'native-eventsource'),
      sse('fetch-event-source in Chromium', 'fetch-event-source', {
        breaks: TAKES_IDS_EARLY.fetchEventSource,
      }),
      sse('fetch-event-source with JSON.parse in Chromium', 'fetch-event-source-json', {
        breaks: TAKES_IDS_EARLY.fetchEventSource,
      }),
      sse('event-source-polyfill in Chromium', 'event-source-polyfill'),
      sse('sse.js in Chromium', 'sse-js'),
    ],
    open: startChromium,
  },
  {
    without: withoutPython,
    clients: [
      other('requests (Python)', 'requests_stream'),
      sse('sseclient-py', 'sseclient_py'),
      sse('httpx-sse', 'httpx_sse_client'),
    ],
    async open() {
      const command = await preparePython()
      return programs(name => ({ command, args: ['-B', file(`python/${name}.py`)] }))
    },
  },
  {
    without: withoutGo,
    clients: [sse('r3labs/sse (Go)', 'r3labs', R3LABS), sse('tmaxmax/go-sse (Go)', 'tmaxmax')],
    async open() {
      const command = await prepareGo()
      return programs(name => ({ command, args: [name] }))
    },
  },
]

function sse(name: string, program: string, known: Partial<Client> = {}): Client {
  return { name, program, sse: true, ...known }
}

function other(name: string, program: string): Client {
  return { name, program, sse: false }
}

function programs(programOf: (name: string) => Program): Host {
  return {
    start: (name, targets, hear) => startProgram(programOf(name), targets, hear),
    async close() {},
  }
}

function file(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url))
}
