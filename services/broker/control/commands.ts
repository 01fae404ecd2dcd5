// The commands that nodes tell each other.

/** What can be told, by name. Carrying a command out twice must do no harm: a teller that got no answer repeats it. */
export interface Commands {
  /** Refuse the user's tokens that were issued before `before`, until none of them could live; ms since 1970. */
  readonly revoke: { readonly user: string; readonly before: number; readonly until?: number }
  /** End the user's connections, or the one of that client id. */
  readonly disconnect: { readonly user: string; readonly client?: string }
  /** Take the channel from the user's connections. */
  readonly unsubscribe: { readonly user: string; readonly channel: string }
  /** The channel's history was erased, or the data of the one event with this id. */
  readonly erase: { readonly channel: string; readonly id?: string }
}
