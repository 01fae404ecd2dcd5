// Clients of the streaming wires: sse, stream, ws, Socket.IO. A cut client reconnects with its cursor.

import type { Traffic } from '../address.ts'
import type { StreamKind } from '../attention.ts'
import { Client } from '../client.ts'
import type { Scanner } from '../scan.ts'
import { COME_BACK, type Follower, jitter, type Part } from './follower.ts'

/** Patterns of the cursor in the first message of each wire. */
export const CURSORS: Readonly<Record<StreamKind, string>> = {
  ws: '"open":\\{"cursor":"([^"]*)"\\}\\}',
  stream: '"open":\\{"cursor":"([^"]*)"\\}\\}',
  sse: '\\nid: (\\S*)\\nretry: \\d+\\n\\n',
  'socket.io': '43\\d+\\[\\{"ok":\\{"channel":"[^"]*","cursor":"([^"]*)"',
}

export class StreamFollower implements Follower {
  readonly #part: Part
  readonly #client: Client
  readonly #kind: StreamKind
  #begun = false
  #wasCut = false
  #again: NodeJS.Timeout | undefined

  constructor(part: Part, kind: StreamKind) {
    this.#part = part
    this.#kind = kind
    const { channel, scanner } = part
    const socketIo = kind === 'socket.io'
    const path = socketIo ? '/socket.io/?EIO=4&transport=websocket' : `/v1/${kind}?channel=${channel}`
    const wire = { kind, cursor: CURSORS[kind], attentive: true, ...(socketIo ? { subscribe: channel } : {}) }
    this.#client = new Client(wire, path, scanner, {
      opened: () => this.#opened(),
      closed: (_, reason) => this.#closed(reason),
      gaps: count => {
        part.account.gaps += count
      },
    })
  }

  get scanner(): Scanner {
    return this.#client.scanner
  }

  get traffic(): Traffic {
    return this.#client.traffic
  }

  get isOpen(): boolean {
    return this.#client.isOpen
  }

  get lastAt(): number {
    return this.#client.lastAt
  }

  start(): void {
    const { position } = this.#client
    const cursor = position === '' ? 'latest' : position
    const query = this.#kind === 'socket.io' ? '' : `&cursor=${cursor}`
    this.#client.connect(this.#part.address, query, cursor)
  }

  close(): void {
    clearTimeout(this.#again)
    this.#client.cut()
  }

  #opened(): void {
    if (this.#wasCut) this.#part.account.resumed++
    this.#wasCut = false
    this.#begin(() => this.#part.begun.opened())
  }

  #closed(reason: string | undefined): void {
    const { account, begun } = this.#part
    if (reason === undefined) {
      account.cut++
      this.#wasCut = true
    } else {
      account.wrong(reason)
      this.#begin(() => begun.failed(reason))
    }
    this.#again = setTimeout(() => this.start(), this.#client.retry ?? jitter(COME_BACK))
  }

  #begin(report: () => void): void {
    if (this.#begun) return
    this.#begun = true
    report()
  }
}
