// Rules: the terms of the channels of a pattern. One rule applies to a channel; rules never add up.

import type { LifeWord } from './life-kinds.ts'

export const SUBSCRIBERS = ['anyone', 'user', 'token', 'hook', 'nobody'] as const
export const PUBLISHERS = ['anyone', 'user', 'token', 'hook', 'key', 'nobody'] as const
export const SLOW = ['catch-up', 'newest', 'close'] as const
export const ON_FAILURE = ['deny', 'allow'] as const

export type Subscriber = (typeof SUBSCRIBERS)[number]
export type Publisher = (typeof PUBLISHERS)[number]

/** Sizes are bytes, times ms; omitted members have the node's settings. */
export interface Rule {
  /** The pattern; `default` for the rule of all other channels. */
  readonly match: string
  /** The line where it begins in its file; 0: it is not from a file. */
  readonly line: number
  /** Which segments of the pattern are `{user}`. */
  readonly userSegments: readonly number[]
  readonly subscribe: readonly Subscriber[]
  /** Publishes by clients. API keys are judged by their grants alone. */
  readonly publish: readonly Publisher[]
  readonly history: { readonly events?: number; readonly age?: number; readonly bytes?: number }
  readonly presence: boolean
  readonly maxBody: number | undefined
  /** Per user: events per second on average, and the burst. */
  readonly rate: { readonly publish: number; readonly burst: number } | undefined
  readonly transient: boolean
  /** Caches may keep its events only briefly, since they may be erased. */
  readonly erasable: boolean
  readonly slow: (typeof SLOW)[number] | undefined
  /** The hook that decides where `subscribe` or `publish` is `hook`; undefined: the file's. */
  readonly hook: Hook | undefined
}

/** A URL of the application; the node waits for its response. */
export interface Hook {
  readonly url: string
  /** ms. */
  readonly timeout: number
  /** Names of the client's headers that it receives, in lower case. */
  readonly headers: readonly string[]
  /** `whsec_…`, at most two. */
  readonly secrets: readonly string[]
  /** Its responses have to be signed, too. */
  readonly signedAnswers: boolean
  /** The decision if it does not respond. */
  readonly onFailure: (typeof ON_FAILURE)[number]
}

/** The decisions that the application can make. */
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
  /** Matches the names of the channels to report on. */
  readonly startsWith: string
  readonly endsWith: string
}

/** A URL of the application that receives events. */
export interface Webhook {
  readonly url: string
  /** `whsec_…`, at most two. */
  readonly secrets: readonly string[]
  readonly events: readonly LifeWord[]
  /** Patterns; undefined: all channels. */
  readonly channels: readonly string[] | undefined
  /** Events per message, and how long a message waits for more, ms. */
  readonly batch: { readonly events: number; readonly within: number }
  /** It belongs to an app of Pusher's protocol, and receives that protocol's format. */
  readonly app?: WebhookOfApp
}

export interface Rules {
  /** In the file's order, without the default. */
  readonly list: readonly Rule[]
  readonly default: Rule
  /** Without a file, on loopback: everybody may do everything. `but-keys`: publish and admin need an API key. */
  readonly open: 'all' | 'but-keys' | undefined
  /** For `subscribe` and `publish` of rules that name no hook. */
  readonly hooks: Hooks
  readonly webhooks: readonly Webhook[]
  /** What the log of lives records. */
  readonly lives: readonly LifeWord[]
  /** Some channel keeps members. */
  readonly keepPresence: boolean
  /** Some channel limits the rate of publishing. */
  readonly limitRates: boolean
  /** Clients without credentials may publish to some channel, or the application decides. */
  readonly letAnyonePublish: boolean
  /** The rule that applies to a channel: the most specific pattern's, or the default. */
  of(channel: string): Rule
}
