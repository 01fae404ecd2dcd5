// Any mix of publish, trim, erase, end, clear, filter, conflate, cut and resume matches a small model.

import type { Test } from 'tap'
import { Random } from '../support/random.ts'
import { until } from '../support/until.ts'
import { type Client, queryOf, type Target, type Wire } from './clients.ts'
import { Model, type Delivered, type Wish } from './mix-model.ts'
import { type Node, offsetOf, type StartNode } from './node.ts'
import { fresh } from './wires.ts'

const KEEPS = 20
const STEPS = 25
const TYPES = ['a', 'b', 'c']
const LANGS = ['ko', 'en']
const WISHES: readonly Wish[] = [
  {},
  { type: 'a' },
  { lang: 'ko' },
  { newest: true },
  { lang: 'en', newest: true },
  { every: true },
  { type: 'b', newest: true, every: true },
]

interface Answer {
  readonly events: readonly { readonly id: string; readonly data: number | null; readonly skipped?: number }[]
  readonly cursor: string
  readonly more?: true
  readonly gaps?: readonly { readonly to: string }[]
  readonly end?: readonly { readonly id: string }[]
}

const deliveredOf = ({ id, data, skipped = 0 }: Answer['events'][number]): Delivered => ({
  offset: offsetOf(id),
  data,
  skipped,
})

interface Stream {
  readonly wish: Wish
  readonly client: Client
  /** Where the node is in the channel, which may be beyond the last event that passed the client's filter. */
  at: string
}

/** The `select` of a target. */
const selectOf = ({ type, lang, newest, every }: Wish): NonNullable<Target['select']> => ({
  ...(type === undefined ? {} : { types: [type] }),
  ...(lang === undefined ? {} : { filter: { key: 'lang', cmp: 'eq', val: lang } }),
  ...(newest ? { newest: 'type' } : {}),
  ...(every ? { every: '100ms' } : {}),
})

export function mixContract(t: Test, engine: string, startNode: StartNode, wire: Wire, seeds: number): void {
  t.test(`with any mix, each reader on ${engine} receives what the model predicts`, async t => {
    const node = await startNode({ HISTORY_EVENTS: `${KEEPS}`, HEARTBEAT: '25s' })
    t.teardown(() => node.close())
    for (let seed = 1; seed <= seeds; seed++) {
      const mix = await Mix.begin(node, wire, seed)
      await mix
        .run()
        .catch((error: Error) => t.fail(`seed ${seed}: ${mix.done.join(', ')}: ${error.message}`))
    }
    t.pass(`${seeds} seeds`)
  })
}

class Mix {
  /** The steps executed so far. */
  readonly done: string[] = []
  readonly #node: Node
  readonly #wire: Wire
  readonly #random: Random
  readonly #channel: string
  readonly #model: Model
  #data = 0
  /** The cursors of the polling clients, in the order of `WISHES`. */
  readonly #cursors: string[]
  #streams: Stream[] = []

  private constructor(node: Node, wire: Wire, seed: number, channel: string, first: string) {
    this.#node = node
    this.#wire = wire
    this.#random = new Random(seed)
    this.#channel = channel
    this.#model = new Model(first.split('-')[0] ?? '', KEEPS)
    this.#model.publish('a', 'ko', 0)
    this.#cursors = WISHES.map(() => first)
  }

  static async begin(node: Node, wire: Wire, seed: number): Promise<Mix> {
    const channel = fresh()
    const [first = ''] = await node.append(channel, { data: Buffer.from('0'), type: 'a', tags: LANG.ko })
    return new Mix(node, wire, seed, channel, first)
  }

  async run(): Promise<void> {
    try {
      for (let step = 0; step < STEPS; step++) {
        // The first stream is never cut: once it has received an event, the node has read it too.
        if (this.#streams.length === 0 && !this.#model.ended) await this.#connect({}, this.#model.position)
        await this.#act()
        for (const stream of this.#streams) await this.#settle(stream)
        if (this.#model.ended) await this.#finish()
        if (this.#random.oneIn(2)) await this.#poll(this.#random.below(WISHES.length))
        await this.#cutOrConnect()
      }
      for (const i of WISHES.keys()) await this.#poll(i)
    } finally {
      for (const { client } of this.#streams) client.cut()
    }
  }

  async #act(): Promise<void> {
    const model = this.#model
    const some = this.#random.below(12)
    if (some === 0 && model.events.length > 0) {
      const sent = this.#random.pick(model.events)
      const id = `${model.epoch}-${sent.offset}`
      this.#note(`erase ${sent.offset}`)
      await this.#ask('DELETE', `/events/${id}`)
      model.erase(sent)
      const path = `/v1/poll?channel=${this.#channel}&limit=1&cursor=${model.epoch}-${sent.offset - 1}`
      await until('it is erased', async () => JSON.parse((await this.#node.get(path)).body).events[0].erased)
    } else if (some === 1) {
      this.#note('clear')
      await this.#ask('DELETE', '')
      const { head } = await this.#node.log.state(this.#channel)
      model.clear(head.epoch)
      const path = `/v1/poll?channel=${this.#channel}&cursor=latest`
      await until(
        'the channel is cleared',
        async () => JSON.parse((await this.#node.get(path)).body).cursor === model.position,
      )
    } else if (some === 2 && !model.ended) {
      this.#note('end')
      await this.#ask('POST', '/end')
      model.end()
    } else if (!model.ended) await this.#publish(1 + this.#random.below(8))
  }

  async #publish(count: number): Promise<void> {
    this.#note(`publish ${count}`)
    const drafts = Array.from({ length: count }, () => {
      const [type, lang] = [this.#random.pick(TYPES), this.#random.pick(LANGS)]
      this.#model.publish(type, lang, ++this.#data)
      return { data: Buffer.from(`${this.#data}`), type, tags: new Map([['lang', lang]]) }
    })
    await this.#node.append(this.#channel, ...drafts)
  }

  async #ask(method: string, path: string): Promise<void> {
    const url = `http://127.0.0.1:${this.#node.port}/v1/channels/${encodeURIComponent(this.#channel)}${path}`
    const { status } = await fetch(url, { method })
    if (status >= 300) throw new Error(`${method} ${path}: ${status}`)
  }

  /** A polling client receives every missing event, with any limit. */
  async #poll(i: number): Promise<void> {
    const wish = WISHES[i] ?? {}
    const limit = 1 + this.#random.below(9)
    this.#note(`poll ${JSON.stringify(wish)} by ${limit}`)
    for (let more = true; more;) {
      const cursor = this.#cursors[i] ?? ''
      const query = queryOf({ channels: [this.#channel], cursor, limit, select: selectOf(wish) })
      const answer = JSON.parse((await this.#node.get(`/v1/poll?${query}`)).body) as Answer
      const gap = this.#model.gap(cursor)
      equal([answer.gaps?.[0]?.to, answer.gaps?.length], [gap, gap && 1])
      const delivered = answer.events.map(deliveredOf)
      equal(delivered, this.#model.between(offsetOf(gap ?? cursor), offsetOf(answer.cursor), wish))
      if (delivered.length > limit) throw new Error(`${delivered.length} events for a limit of ${limit}`)
      this.#cursors[i] = answer.cursor
      more = answer.more === true
    }
    equal(this.#cursors[i], this.#model.position)
  }

  /** Brings a stream to the head. The newest of each type may come in several stretches. */
  async #settle(stream: Stream): Promise<void> {
    const { wish, client, at } = stream
    const { newest, ...all } = wish
    const gap = this.#model.gap(at)
    if (gap !== undefined) {
      const item = await client.next()
      equal('gap' in item && item.gap.to, gap)
    }
    const wanted = this.#model.between(offsetOf(gap ?? at), this.#model.head, all)
    const delivered: Delivered[] = []
    const covered = () => delivered.reduce((sum, { skipped }) => sum + skipped + 1, 0)
    while (covered() < wanted.length) delivered.push(deliveredOf(JSON.parse(await client.event())))
    stream.at = this.#model.position
    if (!newest) return equal(delivered, wanted)
    equal(covered(), wanted.length)
    const same = delivered.map(({ offset, skipped }) => ({
      ...wanted.find(each => each.offset === offset),
      skipped,
    }))
    equal(delivered, same)
    equal(delivered.at(-1)?.offset, wanted.at(-1)?.offset)
  }

  /** Every stream ends at the end of its channel. */
  async #finish(): Promise<void> {
    for (const { client } of this.#streams.splice(0)) {
      equal(Object.keys(await client.next()), ['end'])
      equal(Object.keys(await client.next()), ['close'])
    }
  }

  async #cutOrConnect(): Promise<void> {
    if (this.#model.ended) return
    if (this.#streams.length < 4 && this.#random.oneIn(3))
      await this.#connect(this.#random.pick(WISHES), this.#random.pick(this.#cursors))
    else if (this.#streams.length > 1 && this.#random.oneIn(3)) {
      const at = 1 + this.#random.below(this.#streams.length - 1)
      const [stream] = this.#streams.splice(at, 1)
      if (stream === undefined) return
      const { wish, client } = stream
      client.cut()
      this.#note(`cut ${JSON.stringify(wish)} at ${client.cursor}`)
      if (this.#random.oneIn(2)) {
        await this.#publish(1 + this.#random.below(30))
        for (const other of this.#streams) await this.#settle(other)
      }
      await this.#connect(wish, client.cursor)
    }
  }

  async #connect(wish: Wish, cursor: string): Promise<void> {
    this.#note(`connect ${JSON.stringify(wish)} at ${cursor}`)
    const target = { channels: [this.#channel], cursor, select: selectOf(wish) }
    const stream = { wish, client: await this.#wire.connect(this.#node, target), at: cursor }
    this.#streams.push(stream)
    await this.#settle(stream)
  }

  #note(what: string): void {
    this.done.push(what)
  }
}

const LANG = { ko: new Map([['lang', 'ko']]) }

function equal(got: unknown, wanted: unknown): void {
  const [one, other] = [JSON.stringify(got), JSON.stringify(wanted)]
  if (one !== other) throw new Error(`${one} is not ${other}`)
}
