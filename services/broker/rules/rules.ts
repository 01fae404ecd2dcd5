// Rules: what holds for the channels of a pattern. One rule holds for a channel; rules never add up.

import type { LifeWord } from './life-kinds.ts'

export const SUBSCRIBERS = ['anyone', 'user', 'token', 'hook', 'nobody'] as const
export const PUBLISHERS = ['anyone', 'user', 'token', 'hook', 'key', 'nobody'] as const
export const SLOW = ['catch-up', 'newest', 'close'] as const
export const ON_FAILURE = ['deny', 'allow'] as const

export type Subscriber = (typeof SUBSCRIBERS)[number]
export type Publisher = (typeof PUBLISHERS)[number]

/** Sizes are bytes, times ms; what is left out is the node's setting. */
export interface Rule {
  /** The pattern; `default` for the rule of all other channels. */
  readonly match: string
  /** Where it begins in its file; 0: it is in none. */
  readonly line: number
  /** Which segments of the pattern are `{user}`. */
  readonly userSegments: readonly number[]
  readonly subscribe: readonly Subscriber[]
  /** Clients' own publishes. API keys are judged by their grants alone. */
  readonly publish: readonly Publisher[]
  readonly history: { readonly events?: number; readonly age?: number; readonly bytes?: number }
  readonly presence: boolean
  readonly maxBody: number | undefined
  /** Per user: events per second on average, and how many at once. */
  readonly rate: { readonly publish: number; readonly burst: number } | undefined
  readonly transient: boolean
  /** Caches keep its events for moments only, since they may be erased. */
  readonly erasable: boolean
  readonly slow: (typeof SLOW)[number] | undefined
  /** Who is asked where `subscribe` or `publish` is `hook`; undefined: the one of the file. */
  readonly hook: Hook | undefined
}

/** An address of the application that is asked, and waited for. */
export interface Hook {
  readonly url: string
  /** ms. */
  readonly timeout: number
  /** Names of the client's headers that it is shown, in lower case. */
  readonly headers: readonly string[]
  /** `whsec_…`, at most two. */
  readonly secrets: readonly string[]
  /** Its answers have to be signed, too. */
  readonly signedAnswers: boolean
  /** What holds where it gives no answer. */
  readonly onFailure: (typeof ON_FAILURE)[number]
}

/** What the application can be asked. */
export interface Hooks {
  readonly connect?: Hook
  readonly refresh?: Hook
  readonly subscribe?: Hook
  readonly publish?: Hook
}

export type HookName = keyof Hooks

export interface WebhookOfApp {
  readonly id: string
  readonly key: string
  readonly secret: string
  /** Of the names of channels that it is told of. */
  readonly startsWith: string
  readonly endsWith: string
}

/** An address of the application that is told what happens. */
export interface Webhook {
  readonly url: string
  /** `whsec_…`, at most two. */
  readonly secrets: readonly string[]
  readonly events: readonly LifeWord[]
  /** Patterns; undefined: whatever it is about. */
  readonly channels: readonly string[] | undefined
  /** Events of one message, and ms that it waits for more. */
  readonly batch: { readonly events: number; readonly within: number }
  /** It is an app's of Pusher's protocol, and is told in that form. */
  readonly app?: WebhookOfApp
}

export interface Rules {
  /** In the file's order, without the default. */
  readonly list: readonly Rule[]
  readonly default: Rule
  /** Without a file, on loopback: everybody may everything. `but-keys`: publish and admin need an API key. */
  readonly open: 'all' | 'but-keys' | undefined
  /** For `subscribe` and `publish` of rules that name none themselves. */
  readonly hooks: Hooks
  readonly webhooks: readonly Webhook[]
  /** What the log of lives tells. */
  readonly lives: readonly LifeWord[]
  /** There are channels whose members are kept. */
  readonly keepPresence: boolean
  /** The rule that holds for a channel: the most exact pattern's, or the default. */
  of(channel: string): Rule
}
