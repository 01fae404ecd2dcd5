// Where the members of channels are kept that are in this log.

import type { ChannelLog } from '../log/log.ts'
import { MemoryMembers } from './memory.ts'
import { type MembersInRedis, RedisMembers } from './redis.ts'
import type { MemberStore } from './store.ts'

function isRedis(log: ChannelLog): log is ChannelLog & MembersInRedis {
  return 'members' in log && 'leases' in log
}

/** What several nodes share is kept where they share it; a node that is alone keeps it in its memory. */
export function createMembers(log: ChannelLog): MemberStore {
  return isRedis(log) ? new RedisMembers(log) : new MemoryMembers(log)
}
