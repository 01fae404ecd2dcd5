// The node that sends webhooks, and the progress of each webhook: every node reads them from one reserved channel of
// the log, with the same result, since the log has an order and a clock.

import type { Entry } from '../broker/control/tail.ts'

/** A sender that was silent for this long is gone, ms. */
export const GONE_MS = 15_000

export interface HookState {
  /** The last position that was sent, for each channel of the log of lives. */
  readonly cursor: string
  /** Why nothing more is sent to it, if so. */
  readonly stopped?: string | undefined
  /** Why the last attempt failed. */
  readonly failing?: string | undefined
}

/** The nodes' messages, by type. */
export interface Sayings {
  /** The node sends from now on, or continues to. `hooks` is the progress of all webhooks. */
  readonly claim: { readonly node: string; readonly hooks?: Readonly<Record<string, HookState>> }
  readonly release: { readonly node: string }
  readonly progress: { readonly node: string; readonly hook: string; readonly state: HookState }
  /** An operator requested a replay from the cursor on. */
  readonly replay: { readonly hook: string; readonly cursor: string }
}

export class Ledger {
  readonly hooks = new Map<string, HookState>()
  /** The number of replays of each webhook. */
  readonly replays = new Map<string, number>()
  #holder: { readonly node: string; readonly time: number } | undefined

  /** The node that sends. */
  get holder(): string | undefined {
    return this.#holder?.node
  }

  /** The time of the sender's last message, by the log's clock. */
  get heard(): number {
    return this.#holder?.time ?? 0
  }

  apply({ type, data, time }: Pick<Entry, 'type' | 'data' | 'time'>): void {
    if (type === 'claim') this.#claim(data as Sayings['claim'], time)
    else if (type === 'release') {
      if ((data as Sayings['release']).node === this.holder) this.#holder = undefined
    } else if (type === 'progress') {
      const { node, hook, state } = data as Sayings['progress']
      // Ignores a node that was no longer the sender.
      if (node === this.holder) this.hooks.set(hook, state)
    } else if (type === 'replay') {
      const { hook, cursor } = data as Sayings['replay']
      this.hooks.set(hook, { cursor })
      this.replays.set(hook, (this.replays.get(hook) ?? 0) + 1)
    }
  }

  #claim({ node, hooks = {} }: Sayings['claim'], time: number): void {
    if (this.#holder !== undefined && this.#holder.node !== node && time - this.#holder.time < GONE_MS) return
    // Restores from the sender's memory what the log has lost.
    for (const [hook, state] of Object.entries(hooks)) if (!this.hooks.has(hook)) this.hooks.set(hook, state)
    this.#holder = { node, time }
  }
}
