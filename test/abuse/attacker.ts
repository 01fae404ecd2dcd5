// The process of an attack. It does not block the event loop of the good clients, and its sockets close when it exits.
// It receives commands and sends its reports as messages.

import { setMaxListeners } from 'node:events'
import { setPriority } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Done, Target } from './attack.ts'
import { attacks } from './attacks/index.ts'

export interface Order {
  readonly name: string
  readonly target: Target
}

/** Messages to the process, in this order. */
export type Command = { readonly prepare: Order } | 'begin' | 'stop'
/** Messages from the process: that it is prepared, then its summary, or its error. */
export type Message = 'prepared' | { readonly done: Done } | { readonly failed: string }

/** Scheduling priority of this process, so that on two cores the node and the good clients run first. */
const NICENESS = 19
/** An attack that does not return within this time after its stop, ms, has an empty summary. */
const RETURNS_WITHIN = 5000

const stopped = new AbortController()
let order: Order | undefined

function report(message: Message): Promise<void> {
  return new Promise(resolve => process.send?.(message, () => resolve()) ?? resolve())
}

async function hear(command: Command): Promise<void> {
  if (command === 'stop') return stopped.abort()
  if (command !== 'begin') {
    order = command.prepare
    await attackOf(order).prepare?.(order.target)
    return report('prepared')
  }
  if (order === undefined) throw new Error('there is no order')
  const done = attackOf(order).attack(order.target, stopped.signal)
  const late = new Promise<Done>(resolve => {
    const giveUp = () => sleep(RETURNS_WITHIN).then(() => resolve({ did: {} }))
    stopped.signal.addEventListener('abort', giveUp, { once: true })
  })
  await report({ done: await Promise.race([done, late]) })
  // Exits even with open connections.
  process.exit()
}

function attackOf({ name }: Order) {
  const attack = attacks.find(each => each.name === name)
  if (attack === undefined) throw new Error(`there is no attack ${name}`)
  return attack
}

setPriority(NICENESS)
process.setMaxListeners(0)
setMaxListeners(0, stopped.signal)
process.on('disconnect', () => process.exit())
process.on('message', (command: Command) => {
  hear(command).catch(async error => {
    await report({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    process.exit(1)
  })
})
