// Questions and answers between the primary and a worker, over the channel that node:cluster keeps between them.

/** A worker's questions to the primary. */
export type ToPrimary =
  /** → the port to listen on, if any free one is allowed. */
  | { readonly of: 'port' }
  /** It can't start, reports why, and ends once it is answered. */
  | { readonly of: 'failed'; readonly why: string }
  /** → all workers' metrics, as Prometheus text. */
  | { readonly of: 'metrics' }
  /** → readers in a channel, over all workers. */
  | { readonly of: 'readers'; readonly channel: string }

/** The primary's questions to a worker. */
export type ToWorker =
  | { readonly of: 'stop' }
  /** → its metrics: `Registry.getMetricsAsJSON()`. */
  | { readonly of: 'metrics' }
  | { readonly of: 'readers'; readonly channel: string }

/** The other end: `process` in a worker, the worker in the primary. */
export interface Peer {
  on(event: 'message', heard: (message: unknown) => void): unknown
  /** `sent` receives errors; without it, they are events. */
  send(message: Message, sent: () => void): unknown
}

type Message =
  | { readonly id: number; readonly question: object }
  | { readonly id: number; readonly value: unknown }

export class Dialogue<Asked extends object, Answered extends object> {
  readonly #peer: Peer
  readonly #answer: (question: Answered) => unknown
  readonly #waiting = new Map<number, (value: unknown) => void>()
  #asked = 0

  /** `answer` returns the value or a promise of it; if it returns none, or raises, the other end times out. */
  constructor(peer: Peer, answer: (question: Answered) => unknown) {
    this.#peer = peer
    this.#answer = answer
    peer.on('message', message => this.#heard(message as Message))
  }

  /** The answer; undefined if there is none within `within` ms. */
  async ask(question: Asked, within: number): Promise<unknown> {
    const id = ++this.#asked
    const answer = new Promise(resolve => {
      const timer = setTimeout(resolve, within)
      this.#waiting.set(id, value => {
        clearTimeout(timer)
        resolve(value)
      })
    })
    this.#send({ id, question })
    const value = await answer
    this.#waiting.delete(id)
    return value
  }

  #heard(message: Message): void {
    if ('question' in message) {
      // The answering side handles its failures; silence is enough here.
      Promise.resolve(message.question as Answered)
        .then(this.#answer)
        .then(value => this.#send({ id: message.id, value }))
        .catch(() => {})
    } else this.#waiting.get(message.id)?.(message.value)
  }

  /** A peer that has exited needs no answer: the asking side has a time limit. */
  #send(message: Message): void {
    this.#peer.send(message, () => {})
  }
}
