// The commands that nodes send each other.

/** The commands, by name. They must be idempotent, since a sender without a response retries. */
export interface Commands {
  /**
   * Reject the user's tokens that were issued before `before`, until none of them could still be valid; ms since 1970.
   */
  readonly revoke: { readonly user: string; readonly before: number; readonly until?: number }
  /** End the user's connections, or the one with that client id. */
  readonly disconnect: { readonly user: string; readonly client?: string }
  /** Unsubscribe the user's connections from the channel. */
  readonly unsubscribe: { readonly user: string; readonly channel: string }
  /** The channel's history was erased, or the data of the one event with this id. */
  readonly erase: { readonly channel: string; readonly id?: string }
}
