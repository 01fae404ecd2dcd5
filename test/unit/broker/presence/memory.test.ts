import t from 'tap'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import { MemoryMembers } from '../../../../services/broker/presence/memory.ts'
import { retentionIn } from '../../../contract/log.ts'
import { crowdContract, membersContract } from '../../../contract/members.ts'

for (const contract of [membersContract, crowdContract]) {
  contract(t, 'memory', async () => {
    const log = new MemoryLog({ retentionOf: retentionIn({}), idempotencyWindow: 60_000 })
    return { log, store: new MemoryMembers(log) }
  })
}
