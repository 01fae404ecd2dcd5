import t from 'tap'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import { MemoryMembers } from '../../../../services/broker/presence/memory.ts'
import { retentionIn } from '../../../contract/log.ts'
import { membersContract } from '../../../contract/members.ts'

membersContract(t, 'memory', async () => {
  const log = new MemoryLog({ retentionOf: retentionIn({}), idempotencyWindow: 60_000 })
  return { log, store: new MemoryMembers(log) }
})
