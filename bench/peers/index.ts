// The broker and what a user would pick instead.

import { fanwire } from './fanwire.ts'
import { nchan } from './nchan.ts'
import type { Peer } from './peer.ts'
import { plain } from './plain.ts'
import { socketIo } from './socket-io.ts'

export const peers: readonly Peer[] = [fanwire, nchan, plain, socketIo]
