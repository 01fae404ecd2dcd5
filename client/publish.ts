// Publishing: a request with an idempotency key, so that a retry after a cut does not publish twice.

import { backoff } from './backoff.ts'
import { FanwireError, Unauthorized } from './errors.ts'
import { ask, type Env } from './link.ts'
import { pause, within } from './pause.ts'
import type { PublishOptions, Receipt } from './types.ts'

/** The maximum time for a response, ms. */
const ANSWER_MS = 15_000

export const newKey = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

/** Publishes an event. Resolves once the log holds it. Rejects with permanent errors, and when `signal` aborts. */
export async function publish(
  env: Env,
  channel: string,
  data: unknown,
  { type, tags = {}, priority, transient, idempotencyKey = newKey() }: PublishOptions,
  signal: AbortSignal,
): Promise<Receipt> {
  const query = new URLSearchParams()
  if (type !== undefined) query.set('type', type)
  if (priority !== undefined) query.set('priority', priority)
  if (transient) query.set('transient', '1')
  for (const [name, value] of Object.entries(tags)) query.set(`tag.${name}`, value)
  const bytes = data instanceof Uint8Array
  const headers = {
    'content-type': bytes ? 'application/octet-stream' : 'application/json',
    ...(transient ? {} : { 'idempotency-key': idempotencyKey }),
  }
  const body = bytes ? (data as Uint8Array<ArrayBuffer>) : JSON.stringify(data)
  const path = `/v1/channels/${encodeURIComponent(channel)}/events?${query}`.replace(/\?$/, '')
  for (let failures = 0, rejected = 0; ;) {
    let hint = 0
    try {
      return await within(ANSWER_MS, signal, async signal => {
        const response = await ask(env, path, { method: 'POST', headers, body, signal })
        return (await response.json()) as Receipt
      })
    } catch (error) {
      const refused = error instanceof FanwireError && error.retry === undefined
      // Renews the token once, since it may have expired.
      const renew = refused && error.status === 401 && env.credentials.renewable && rejected++ === 0
      if (signal.aborted || transient || error instanceof Unauthorized || (refused && !renew)) throw error
      if (renew) continue
      if (error instanceof FanwireError) hint = error.retry ?? 0
    }
    await pause(backoff(failures++, hint, env.timing), signal)
    signal.throwIfAborted()
  }
}
