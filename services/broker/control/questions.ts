// Questions to all nodes at once, such as which connections a user has: each node answers with a bounded page, and the
// node that asked merges the pages.

import { type ChannelLog, LogUnavailable } from '../log/log.ts'
import { answersOf, QUESTIONS } from './channels.ts'
import type { NodeInfo } from './nodes.ts'
import type { Logger } from '../logger.ts'
import { visitInSlices } from '../slices.ts'
import type { NodeStats } from './stats.ts'
import { draftOf, type Entry, Tail } from './tail.ts'

/** The questions, by name: their parameters, and the items of their answers. */
export interface QuestionTypes {
  /** A user's connections, by client id. */
  readonly connections: {
    readonly asks: { readonly user?: string }
    readonly item: {
      readonly user: string
      /** The id of its API key, if it used one. */
      readonly key?: string
      readonly wire: string
      /** ms since 1970; omitted if nothing is stored about clients. */
      readonly since?: number
      readonly channels: readonly string[]
    }
  }
  /** A channel's readers, by client id; with `user`, only that user's. */
  readonly readers: {
    readonly asks: { readonly user?: string; readonly channel: string }
    readonly item: {
      readonly user: string
      readonly wire: string
      readonly since?: number
      /** The last event that was sent to it; omitted if unknown. */
      readonly position?: string
      /** The position after which it has received events; omitted if unknown. */
      readonly from?: string
      /** Whether it receives only a selection of the events. */
      readonly selects?: boolean
      /** Whether its socket is full: it accepts no data. */
      readonly blocked: boolean
    }
  }
  /** Channels by name. Several nodes may have the same channel. */
  readonly channels: {
    /** A pattern. */
    readonly asks: { readonly match?: string }
    readonly item: { readonly readers: number; readonly head?: string; readonly rate?: number }
  }
  /** Subscriptions of Mercure's hub, by their places in its list. */
  readonly subscriptions: { readonly asks: object; readonly item: object }
  /** The nodes' reports, by node id. */
  readonly stats: { readonly asks: object; readonly item: NodeStats }
}

type Type = keyof QuestionTypes
type Asks<T extends Type> = QuestionTypes[T]['asks']
type Item<T extends Type> = QuestionTypes[T]['item']

/**
 * Yields all of a node's keys, in any order, each once, and undefined for everything else that it looks at, since the
 * node looks in slices. An item is built only if it is on the page.
 */
export type Answering<T extends Type> = (
  asks: Asks<T>,
) => Iterable<readonly [key: string, item: () => Item<T>] | undefined>

export interface AskOptions {
  /** How long to wait for the answers, ms. */
  readonly timeout?: number
  /** The maximum keys on a page; at most 1000. */
  readonly limit?: number
  /** `next` of the previous page. */
  readonly after?: string | undefined
}

export interface Answers<T extends Type> {
  /** In the order of their keys (by UTF-16 code units). */
  readonly entries: readonly {
    readonly key: string
    readonly items: readonly { readonly node: string; readonly item: Item<T> }[]
  }[]
  /** The next page's `after`; undefined if this was the last page. */
  readonly next: string | undefined
  /** Nodes that did not answer in time: their items are missing from the page. */
  readonly silent: readonly NodeInfo[]
}

/** The number of readers of these channels, on all nodes together. */
export function readersIn(entries: Answers<'channels'>['entries']): number {
  return entries.flatMap(({ items }) => items).reduce((sum, { item }) => sum + item.readers, 0)
}

/** The channels of one question to the nodes. */
const PAGE = 1000

/** The channels that clients read, with the number of readers, on all nodes together. Raises LogUnavailable. */
export async function* channelsRead(
  questions: Pick<Questions, 'ask'>,
  match = '*',
): AsyncGenerator<[channel: string, readers: number], void, undefined> {
  for (let after: string | undefined = ''; after !== undefined;) {
    const page: Answers<'channels'> = await questions.ask('channels', { match }, { limit: PAGE, after })
    for (const entry of page.entries) {
      const readers = readersIn([entry])
      if (readers > 0 && !entry.key.startsWith('fanwire:')) yield [entry.key, readers]
    }
    after = page.next
  }
}

export interface QuestionsOptions {
  readonly log: ChannelLog
  readonly logger: Logger
  readonly nodes: { readonly id: string; list(): NodeInfo[] }
}

const TIMEOUT_MS = 1000
const START_MS = 5000
const LIMIT = 100
const MOST = 1000
/** The maximum bytes of one node's answer, without its last item. */
const ANSWER_BYTES = 256 * 1024

interface Question {
  readonly id: number
  readonly from: string
  readonly limit: number
  readonly after: string
  readonly asks: unknown
}

interface Page {
  readonly items: readonly (readonly [key: string, item: unknown])[]
  /** Whether there are more after the last one. */
  readonly more: boolean
}

interface Answer extends Page {
  readonly id: number
  readonly node: string
}

export class Questions {
  readonly #options: QuestionsOptions
  readonly #tail: Tail
  readonly #answering = new Map<string, (asks: never) => Iterable<Lazy | undefined>>()
  readonly #gatherings = new Map<number, Gathering>()
  /** Follows this node's answers while a question is open. */
  #ear: { readonly tail: Tail; readonly opened: Promise<boolean> } | undefined
  #asked = 0

  constructor(options: QuestionsOptions) {
    this.#options = options
    const { log, logger } = options
    this.#tail = new Tail({
      log,
      channel: QUESTIONS,
      from: 'latest',
      logger,
      entry: entry => this.#reply(entry),
    })
  }

  /** Sets the answer to a type of question, and replaces an earlier one. */
  answer<T extends Type>(type: T, answering: Answering<T>): this {
    this.#answering.set(type, answering)
    return this
  }

  /** Starts following questions. Returns whether that succeeded within that many ms; if not, keeps trying. Does not raise. */
  open(within = START_MS): Promise<boolean> {
    return this.#tail.open(within)
  }

  close(): void {
    this.#tail.close()
    this.#ear?.tail.close()
    for (const gathering of this.#gatherings.values()) gathering.end()
  }

  /** Asks every node, including this one. Raises LogUnavailable. */
  async ask<T extends Type>(type: T, asks: Asks<T>, options: AskOptions = {}): Promise<Answers<T>> {
    const { timeout = TIMEOUT_MS, after = '' } = options
    const limit = Math.min(Math.max(1, options.limit ?? LIMIT), MOST)
    const { log, nodes } = this.#options
    const id = ++this.#asked
    const gathering = new Gathering(nodes.list())
    this.#gatherings.set(id, gathering)
    try {
      if (!(await this.#listen(timeout)))
        throw new LogUnavailable('the answers could not be followed in time: try again')
      const question: Question = { id, from: nodes.id, limit, after, asks }
      await log.append(QUESTIONS, [draftOf(type, question)])
      await gathering.complete(timeout)
    } finally {
      this.#gatherings.delete(id)
      this.#listenNoMore()
    }
    return { ...merge(gathering.answers, limit), silent: gathering.silent } as Answers<T>
  }

  #listen(within: number): Promise<boolean> {
    if (this.#ear === undefined) {
      const { log, logger, nodes } = this.#options
      const entry = ({ data }: Entry) => {
        const answer = data as Answer
        this.#gatherings.get(answer.id)?.add(answer)
      }
      const tail = new Tail({ log, channel: answersOf(nodes.id), from: 'latest', logger, entry })
      this.#ear = { tail, opened: tail.open(within) }
    }
    return this.#ear.opened
  }

  #listenNoMore(): void {
    if (this.#gatherings.size > 0) return
    this.#ear?.tail.close()
    this.#ear = undefined
  }

  async #reply({ type, data }: Entry): Promise<void> {
    const { log, logger, nodes } = this.#options
    // A question that this version does not know gets no answer: the asking node lists this node as silent.
    const answering = this.#answering.get(type)
    if (answering === undefined) return
    const { id, from, asks, after, limit } = data as Question
    try {
      const page = await pageOf(answering(asks as never), after, limit)
      const answer: Answer = { id, node: nodes.id, ...page }
      await log.append(answersOf(from), [draftOf('answer', answer)])
    } catch (err) {
      logger.warn({ err, question: type }, "another node's question could not be answered")
    }
  }
}

/** Collects the answers to one question as they arrive. */
class Gathering {
  readonly answers: Answer[] = []
  readonly #missing: Map<string, NodeInfo>
  #over = false
  #wake = () => {}

  constructor(nodes: readonly NodeInfo[]) {
    this.#missing = new Map(nodes.map(node => [node.id, node]))
  }

  get silent(): NodeInfo[] {
    return [...this.#missing.values()]
  }

  add(answer: Answer): void {
    this.answers.push(answer)
    this.#missing.delete(answer.node)
    if (this.#missing.size === 0) this.end()
  }

  /** Stops waiting. */
  end(): void {
    this.#over = true
    this.#wake()
  }

  /** Returns when all nodes have answered, or after that many ms. */
  async complete(within: number): Promise<void> {
    if (this.#over) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>(resolve => {
      this.#wake = resolve
      timer = setTimeout(resolve, within)
    })
    clearTimeout(timer)
  }
}

type Lazy = readonly [key: string, item: () => unknown]

const byKey = (a: readonly [key: string, ...unknown[]], b: readonly [key: string, ...unknown[]]) =>
  a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0

/** The first `limit` items after the key `after`, or fewer if they would be too large. */
async function pageOf(all: Iterable<Lazy | undefined>, after: string, limit: number): Promise<Page> {
  let first: Lazy[] = []
  /** The last key that can be on the page, once more than `limit` were found. */
  let last: string | undefined
  const cut = () => {
    first.sort(byKey)
    if (first.length <= limit) return
    first = first.slice(0, limit)
    last = first.at(-1)?.[0]
  }
  await visitInSlices(all, entry => {
    if (entry === undefined) return
    const [key] = entry
    if (key <= after || (last !== undefined && key > last)) return
    // Sorts only once per `limit` items, so that selecting a page costs little more than visiting all items.
    if (first.push(entry) >= 2 * limit) cut()
  })
  cut()
  const more = last !== undefined
  const items: [string, unknown][] = []
  let bytes = 0
  for (const [key, make] of first) {
    if (bytes > ANSWER_BYTES) return { items, more: true }
    const item = make()
    bytes += key.length + JSON.stringify(item).length
    items.push([key, item])
  }
  return { items, more }
}

/**
 * Merges the nodes' answers into one page. If a node has more items, those after its last key are unknown: the page
 * ends at the first such key.
 */
function merge(answers: readonly Answer[], limit: number): Omit<Answers<Type>, 'silent'> {
  const ends = answers.filter(({ more }) => more).map(({ items }) => items.at(-1)?.[0] ?? '')
  const end = ends.sort()[0]
  const byKeys = new Map<string, { node: string; item: unknown }[]>()
  for (const { node, items } of answers) {
    for (const [key, item] of items) {
      const known = byKeys.get(key)
      if (known === undefined) byKeys.set(key, [{ node, item }])
      else known.push({ node, item })
    }
  }
  const sorted = [...byKeys].sort(byKey)
  const page = sorted.filter(([key]) => end === undefined || key <= end).slice(0, limit)
  const more = end !== undefined || page.length < sorted.length
  const entries = page.map(([key, items]) => ({ key, items })) as Answers<Type>['entries']
  return { entries, next: more ? page.at(-1)?.[0] : undefined }
}
