// The channels of the log of lives. All events of one channel, or of one user, are in one of them, in order.

export const LIVES = 'fanwire:lives:'
export const LIVES_SHARDS = 16

/** All of them, in order. */
export const LIVES_CHANNELS: readonly string[] = Array.from(
  { length: LIVES_SHARDS },
  (_, shard) => LIVES + shard,
)

/** The log's channel for a channel or a user. */
export function livesOf(name: string): string {
  // FNV-1a, the same on every node.
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return LIVES + ((hash >>> 0) % LIVES_SHARDS)
}
