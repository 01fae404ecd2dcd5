// Two wires on the file log, because the engine affects all wires alike. `npm run wires` runs all wires.

import t from 'tap'
import { FileLog } from '../../services/broker/log/file/log.ts'
import { ALL_WIRES } from '../contract/clients.ts'
import { configOf, type StartNode, startNode } from '../contract/node.ts'
import { wireContract } from '../contract/wires.ts'
import { folder } from '../support/folder.ts'
import { silent } from '../support/redis-logs.ts'

const start: StartNode = settings =>
  startNode(
    configOf(settings ?? {}),
    ({ history, idempotencyWindow }) =>
      new FileLog({
        folder: folder(t),
        // Rare syncs: the messages of a wire do not depend on them.
        fsync: 1000,
        retentionOf: () => history,
        idempotencyWindow,
        logger: silent,
      }),
  )

const wires =
  process.env.WIRES === 'all'
    ? ALL_WIRES
    : ALL_WIRES.filter(({ name, over }) => over === undefined && ['poll', 'ws'].includes(name))
wireContract(t, 'the log in files', start, wires)
