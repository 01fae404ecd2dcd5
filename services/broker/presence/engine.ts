// Chooses the store for the members of this log's channels.

import type { ChannelLog } from '../log/log.ts'
import { MemoryMembers } from './memory.ts'
import { type MembersInRedis, RedisMembers } from './redis.ts'
import type { MemberStore } from './store.ts'

function isRedis(log: ChannelLog): log is ChannelLog & MembersInRedis {
  return 'members' in log && 'leases' in log
}

/** Nodes that share a Redis store their members there. A single node stores them in its memory. */
export function createMembers(log: ChannelLog): MemberStore {
  return isRedis(log) ? new RedisMembers(log) : new MemoryMembers(log)
}
