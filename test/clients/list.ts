// Every client of the suite, unmodified, from its registry. To add one, add a line here and a file in the folder of its
// language.

import { fileURLToPath } from 'node:url'
import { withoutBrowser } from '../browser/browser.ts'
import { startChromium } from './chromium.ts'
import { type Hear, type Program, type Running, startProgram, type Target } from './program.ts'
import { goProgram } from './go.ts'
import { preparePython, withoutPython } from './python.ts'

/** Runs the clients of one kind. */
export interface Host {
  /** Starts a client. `program`: the name of its file. */
  start(program: string, targets: readonly Target[], hear: Hear): Promise<Running>
  close(): Promise<void>
}

export interface Client {
  readonly name: string
  readonly program: string
  /** Whether it reads `/v1/sse`. */
  readonly sse: boolean
  /** Places where a cut loses or breaks an event whatever the server does, each with the library's line at fault. */
  readonly breaks?: Readonly<Partial<Record<Place, string>>>
  /** Set if it delivers a goodbye (`retry:` without data) as a message: the library's line at fault. */
  readonly handsOutGoodbyes?: string
}

/** Places within an event where a connection is cut. */
export type Place = 'within its data' | 'after its data' | 'within its id' | 'before its blank line'

const TAKES_IDS_EARLY = {
  eventsource2: {
    'before its blank line': 'lib/eventsource.js:332 applies the id as soon as its line has arrived',
  },
  fetchEventSource: {
    'before its blank line': 'lib/esm/parse.js:84 applies the id as soon as its line has arrived',
  },
}
const R3LABS = {
  breaks: {
    'within its data': 'event.go:51 treats a partial block as complete',
    'after its data': 'event.go:51 treats a partial block as complete',
    'within its id': 'event.go:51 treats a partial block as complete',
  },
  handsOutGoodbyes: 'event.go:51 treats a partial block as complete, event.go:26 treats a retry as content',
}

export interface HostOfClients {
  /** The reason why it is unavailable here; false if it is available. */
  readonly without: string | false
  readonly clients: readonly Client[]
  /** Downloads its dependencies, if they are missing. */
  open(): Promise<Host>
}

const GO = goProgram('go/', 'clients')

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
    without: GO.without,
    clients: [sse('r3labs/sse (Go)', 'r3labs', R3LABS), sse('tmaxmax/go-sse (Go)', 'tmaxmax')],
    async open() {
      const command = await GO.prepare()
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
