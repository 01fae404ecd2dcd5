// The contract of every wire on the memory log.

import t from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import { wireContract } from '../../contract/wires.ts'

wireContract(t, 'the memory log', startMemoryNode)
