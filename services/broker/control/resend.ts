// Nodes resend the revocations that the log has lost, for example in a failover. Otherwise a node that starts later would
// accept revoked tokens.

import { hash } from 'node:crypto'
import type { Draft } from '../event/event.ts'
import type { Start } from '../event/position.ts'
import type { ChannelLog, PageLimit } from '../log/log.ts'
import { CONTROL } from './channels.ts'
import { visitInSlices } from '../slices.ts'
import type { Commands } from './commands.ts'
import { draftOf, valueOf } from './tail.ts'

type Revoke = Commands['revoke']

const PAGE: PageLimit = { events: 1000, bytes: 1024 * 1024 }
const AT_A_TIME = 500

/** The draft of a command. Infinite times are omitted, since JSON can't express them. */
export function commandDraft<Type extends keyof Commands>(type: Type, data: Commands[Type]): Draft {
  const finite = Object.entries(data).filter(([, value]) => value !== Infinity)
  return draftOf(type, Object.fromEntries(finite))
}

/** Appends the revocations that the log does not hold. Raises LogUnavailable. */
export async function resend(log: ChannelLog, revocations: Iterable<Revoke>): Promise<void> {
  const held = await heldBy(log)
  const lost: Revoke[] = []
  await visitInSlices(revocations, each => {
    if (!held.has(keyOf(each))) lost.push(each)
  })
  for (let at = 0; at < lost.length; at += AT_A_TIME) {
    // All nodes do this at the same time: the log stores each revocation once.
    const drafts = lost.slice(at, at + AT_A_TIME).map(each => ({
      ...commandDraft('revoke', each),
      idempotencyKey: hash('sha256', keyOf(each), 'base64url'),
    }))
    await log.append(CONTROL, drafts)
  }
}

async function heldBy(log: ChannelLog): Promise<Set<string>> {
  const held = new Set<string>()
  for (let at: Start = 'earliest'; ;) {
    const { events, cursor, more } = await log.read(CONTROL, at, PAGE)
    for (const event of events) if (event.type === 'revoke') held.add(keyOf(valueOf(event) as Revoke))
    if (!more) return held
    at = cursor
  }
}

function keyOf({ user, before, until = Infinity }: Revoke): string {
  return JSON.stringify([user, before, String(until)])
}
