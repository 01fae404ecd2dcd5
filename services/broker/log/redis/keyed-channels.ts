// The channels to which this node published with idempotency keys. Once such a channel is quiet, nothing else would remove
// its keys before the channel itself expires.

/** Channels per window. The keys of further ones remain until the channel expires, or has another event with a key. */
const MOST = 10_000

export class KeyedChannels {
  #current = new Set<string>()
  #last = new Set<string>()
  #older = new Set<string>()

  add(channel: string): void {
    if (this.#current.size < MOST) this.#current.add(channel)
  }

  /** Begins the next window. Returns the channels whose keys have all expired: the newest is two windows old. */
  next(): string[] {
    const expired = [...this.#older].filter(
      channel => !this.#current.has(channel) && !this.#last.has(channel),
    )
    this.#older = this.#last
    this.#last = this.#current
    this.#current = new Set()
    return expired
  }
}
