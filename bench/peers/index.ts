// The broker and its alternatives.

import { centrifugo } from './centrifugo.ts'
import { fanwire } from './fanwire.ts'
import { nchan } from './nchan.ts'
import type { Peer } from './peer.ts'
import { plain } from './plain.ts'
import { socketIo } from './socket-io.ts'

/** `binary`: path of Centrifugo, if it is installed. */
export const allPeers = (binary?: string): readonly Peer[] => [
  fanwire,
  nchan,
  centrifugo(binary),
  plain,
  socketIo,
]
