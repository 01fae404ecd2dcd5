// Client libraries from their registries: each receives every event once and in order, and nothing else, while its
// node is killed twice and drained once, and while connections are cut at the worst places within an event.

import t, { type Test } from 'tap'
import { startTopology } from '../../infra/local/topology.ts'
import { until } from '../support/until.ts'
import { startCuttingProxy } from './cutting-proxy.ts'
import { Follower, typeOf } from './follower.ts'
import { type Client, type Host, HOSTS, type Place } from './list.ts'
import type { Running, Target } from './program.ts'
import { BUILT } from '../support/node.ts'

// The first run downloads and builds the libraries.
t.setTimeout(600_000)
// Each program adds an exit listener to this process.
process.setMaxListeners(50)

/** A client without new events for this long, ms, has given up. The longest retry delay of any client is about 8 s. */
const PATIENCE = 60_000

interface Hosted {
  readonly client: Client
  readonly host: Host
}

const hosted: Hosted[] = []
for (const { clients, without, open } of HOSTS) {
  let why = without
  if (why === false) {
    try {
      const host = await open()
      t.teardown(() => host.close())
      for (const client of clients) hosted.push({ client, host })
    } catch (error) {
      // Without a network, the clients of this host are skipped; in CI they must run.
      if (process.env.CI) throw error
      why = (error as Error).message.split('\n', 1)[0] as string
    }
  }
  if (why !== false) for (const { name } of clients) t.test(name, { skip: why }, async () => {})
}

const topology = await startTopology({
  edges: 1,
  writers: 1,
  lbs: ['nginx'],
  built: BUILT,
  env: { FANWIRE_SOCKET_IO: '1', FANWIRE_HEARTBEAT: '1s', FANWIRE_DRAIN: '500ms' },
})
t.teardown(() => topology.close('SIGKILL'))
const [edge, writer, nginx] = [topology.edges[0], topology.writers[0], topology.lb('nginx')]
if (edge === undefined || writer === undefined) throw new Error('there is no edge or no writer')

async function publish(channel: string, from: number, to: number): Promise<void> {
  for (let n = from; n < to; n++) {
    const type = typeOf(n) === 'message' ? '' : `?type=${typeOf(n)}`
    const answer = await fetch(`${writer?.url}/v1/channels/${channel}/events${type}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ n }),
    })
    if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`)
  }
}

interface Started {
  readonly client: Client
  readonly running: Running
  /** One per target. */
  readonly followers: readonly Follower[]
}

/** Starts a client that follows all targets. */
async function start(
  t: Test,
  { client, host }: Hosted,
  targets: readonly (Target & { readonly name: string })[],
): Promise<Started> {
  const followers = targets.map(
    ({ name, channel }) =>
      new Follower(`${client.name}, ${name}`, channel, client.handsOutGoodbyes !== undefined),
  )
  const running = await host.start(client.program, targets, (target, message) =>
    followers[target]?.hear(message),
  )
  t.teardown(() => running.stop())
  return { client, running, followers }
}

/** Waits until all followers have a number of events. A follower that missed one deadline is not awaited again. */
class Barrier {
  #waiting: readonly Follower[]

  constructor(started: readonly Started[]) {
    this.#waiting = started.flatMap(({ followers }) => followers)
  }

  async reached(count: number): Promise<void> {
    const late = () => this.#waiting.filter(({ events }) => events.length < count)
    await until('all clients have their events', () => late().length === 0, PATIENCE).catch(() => {
      this.#waiting = this.#waiting.filter(each => !late().includes(each))
    })
  }
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}

// Cuts ------------------------------------------------------------------------------------------------------

const CUT = 5

/** Byte offsets at which to cut event 3 (`"n":2`, at `event`) of a response with five complete events. */
const PLACES: Readonly<Record<Place, (response: string, event: number) => number>> = {
  'within its data': (_response, event) => event + '"n"'.length,
  'after its data': (response, event) => response.indexOf('\nid: ', event) + 1,
  'within its id': (response, event) => response.indexOf('\n\n', event) - 1,
  'before its blank line': (response, event) => response.indexOf('\n\n', event) + 1,
}

/** Places where a cut must not harm the client. */
function placesOf({ breaks }: Client): Place[] {
  return (Object.keys(PLACES) as Place[]).filter(place => breaks?.[place] === undefined)
}

function cutAt(place: Place): (response: string) => number | undefined {
  return response => {
    const last = response.indexOf('"n":4')
    const isThere = last !== -1 && response.includes('\n\n', last)
    return isThere ? PLACES[place](response, response.indexOf('"n":2')) : undefined
  }
}

await t.test('clients cut in the middle of an event', async t => {
  const channel = 'cut'
  await publish(channel, 0, CUT)
  const readers = hosted.filter(({ client }) => client.sse)
  const started = await Promise.all(
    readers.map(async each => {
      const targets = await Promise.all(
        placesOf(each.client).map(async name => {
          const proxy = await startCuttingProxy(edge.port, cutAt(name))
          t.teardown(() => proxy.close())
          return { name, url: proxy.url, channel, cursor: 'earliest' }
        }),
      )
      return start(t, each, targets)
    }),
  )
  await new Barrier(started).reached(CUT)
  for (const { client, running, followers } of started) {
    for (const { name, events, wrong } of followers) {
      t.test(`H2: ${name}: 5 of 5 events, in order, each once`, async t => {
        if (!t.strictSame({ events, wrong }, { events: upTo(CUT), wrong: [] })) {
          t.comment(running.notes.slice(-10))
        }
      })
    }
    for (const [place, skip] of Object.entries(client.breaks ?? {})) {
      t.test(`H2: ${client.name}, ${place}`, { skip }, async () => {})
    }
  }
})

// Kills and a drain -----------------------------------------------------------------------------------------

const EVENTS = 50

await t.test('clients whose node is killed twice and drained once', async t => {
  const channel = 'kills'
  const fronts = [
    { name: 'at the node', url: edge.url, channel },
    { name: 'behind nginx', url: nginx.url, channel },
  ]
  const started = await Promise.all(hosted.map(each => start(t, each, fronts)))
  const barrier = new Barrier(started)
  const readers = started.length * fronts.length
  await until('all clients are readers', async () => {
    const info = await (await fetch(`${edge.url}/v1/channels/${channel}`)).json()
    return (info as { readers: number }).readers >= readers
  }).catch(error => t.comment(error.message))

  // Publishes before, during and after each stop of the node. Clients must receive everything before the next stop.
  await publish(channel, 0, 10)
  let published = 10
  for (const [signal, more] of [
    ['SIGKILL', 13],
    ['SIGKILL', 13],
    ['SIGTERM', 14],
  ] as const) {
    const gone = edge.stop(signal)
    await publish(channel, published, published + 5)
    await gone
    await publish(channel, published + 5, published + 8)
    await edge.restart()
    await publish(channel, published + 8, (published += more))
    await barrier.reached(published)
  }
  for (const { client, running, followers } of started) {
    const { handsOutGoodbyes: line } = client
    const empty = line === undefined ? 'none empty' : `none empty except goodbyes (${line})`
    for (const { name, events, wrong } of followers) {
      t.test(`H1, H3: ${name}: 50 of 50 events, in order, each once, ${empty}`, async t => {
        if (!t.strictSame({ events, wrong }, { events: upTo(EVENTS), wrong: [] })) {
          t.comment(running.notes.slice(-10))
        }
      })
    }
  }
})
