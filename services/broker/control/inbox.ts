// Messages from one node to another. They are not stored, since they may contain credentials. If the log's feed is
// interrupted, a message is lost without notice to the sender.

import type { ChannelLog } from '../log/log.ts'
import type { Logger } from '../logger.ts'
import { inboxOf } from './channels.ts'
import { draftOf, Tail } from './tail.ts'

const OPEN_MS = 5000

export interface InboxOptions {
  readonly log: ChannelLog
  readonly logger: Logger
  /** The id of this node. */
  readonly node: string
  /** Called with each message of another node. */
  received(message: unknown): void
}

export class Inbox {
  readonly #options: InboxOptions
  readonly #tail: Tail
  #opening: Promise<boolean> | undefined

  constructor(options: InboxOptions) {
    this.#options = options
    const { log, logger, node, received } = options
    this.#tail = new Tail({
      log,
      channel: inboxOf(node),
      from: 'latest',
      logger,
      entry() {},
      transient: ({ data }) => received(data),
    })
  }

  /** Starts receiving, at the first call. Returns whether that succeeded within 5 s; if not, keeps trying. Does not raise. */
  open(): Promise<boolean> {
    this.#opening ??= this.#tail.open(OPEN_MS)
    return this.#opening
  }

  close(): void {
    this.#tail.close()
  }

  /** Sends a message, which must be JSON. Raises LogUnavailable. */
  async send(node: string, message: unknown): Promise<void> {
    await this.#options.log.relay(inboxOf(node), [draftOf('message', message)])
  }
}
