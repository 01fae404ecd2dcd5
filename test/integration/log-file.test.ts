// The file engine: the contract, and faults that only files have.

import t from 'tap'
import { FileLog, type FileLogOptions } from '../../services/broker/log/file/log.ts'
import { logContract, type MakeLog, RETENTION, retentionIn } from '../contract/log.ts'
import { logActsContract } from '../contract/log-acts.ts'
import { folder } from '../support/folder.ts'
import { silent } from '../support/redis-logs.ts'

const options = (folder: string, more: Partial<FileLogOptions> = {}): FileLogOptions => ({
  folder,
  fsync: 0,
  retentionOf: () => RETENTION,
  idempotencyWindow: 60_000,
  logger: silent,
  ...more,
})

const make =
  (more: Partial<FileLogOptions>): MakeLog =>
  async settings => {
    const { idempotencyWindow = 60_000 } = settings
    const log = new FileLog(
      options(folder(t), { retentionOf: retentionIn(settings), idempotencyWindow, ...more }),
    )
    await log.open()
    return log
  }

logContract(t, 'file', make({}))
logActsContract(t, 'file', make({}))
logContract(t, 'file with small segments', make({ segmentBytes: 400 }))
logActsContract(t, 'file with small segments', make({ segmentBytes: 400 }))
