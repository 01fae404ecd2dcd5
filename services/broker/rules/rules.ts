// Rules: what applies to the channels of a pattern. One rule applies to a channel; rules do not add up.

import type { LifeWord } from './life-kinds.ts'

export const SUBSCRIBERS = ['anyone', 'user', 'token', 'hook', 'nobody'] as const
export const PUBLISHERS = ['anyone', 'user', 'token', 'hook', 'key', 'nobody'] as const
export const SLOW = ['catch-up', 'newest', 'close'] as const
export const ON_FAILURE = ['deny', 'allow'] as const

export type Subscriber = (typeof SUBSCRIBERS)[number]
export type Publisher = (typeof PUBLISHERS)[number]

/** Sizes are in bytes, times in ms. The node's settings apply to omitted members. */
export interface Rule {
  /** The pattern; `default` for the rule of all other channels. */
  readonly match: string
  /** The line where it begins in its file; 0 if it is not from a file. */
  readonly line: number
  /** The indices of the pattern's segments that are `{user}`. */
  readonly userSegments: readonly number[]
  readonly subscribe: readonly Subscriber[]
  /** Which clients may publish. API keys are judged by their grants alone. */
  readonly publish: readonly Publisher[]
  readonly history: { readonly events?: number; readonly age?: number; readonly bytes?: number }
  readonly presence: boolean
  readonly maxBody: number | undefined
  /** For each user: events per second on average, and the burst. */
  readonly rate: { readonly publish: number; readonly burst: number } | undefined
  readonly transient: boolean
  /** Whether events may be erased, so that caches may keep them only briefly. */
  readonly erasable: boolean
  readonly slow: (typeof SLOW)[number] | undefined
  /** The hook that decides if `subscribe` or `publish` is `hook`. Default: the file's. */
  readonly hook: Hook | undefined
}

/** A URL of the application; the node waits for its response. */
export interface Hook {
  readonly url: string
  /** How long a response may take, ms. */
  readonly timeout: number
  /** Names of the client's headers that it receives, in lower case. */
  readonly headers: readonly string[]
  /** `whsec_…`, at most two. */
  readonly secrets: readonly string[]
  /** Whether its responses have to be signed. */
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
  /** The prefix of the channels to report on. */
  readonly startsWith: string
  readonly endsWith: string
}

/** A URL of the application that receives events. */
export interface Webhook {
  readonly url: string
  /** `whsec_…`, at most two. */
  readonly secrets: readonly string[]
  readonly events: readonly LifeWord[]
  /** Patterns of channels; undefined for all channels. */
  readonly channels: readonly string[] | undefined
  /** Events per message, and how long a message waits for more, ms. */
  readonly batch: { readonly events: number; readonly within: number }
  /** Set if it belongs to an app of Pusher's protocol, and receives that protocol's format. */
  readonly app?: WebhookOfApp
}

export interface Rules {
  /** In the file's order, without the default. */
  readonly list: readonly Rule[]
  readonly default: Rule
  /** Set without a file, on loopback: everybody may do everything. `but-keys`: publish and admin require an API key. */
  readonly open: 'all' | 'but-keys' | undefined
  /** The hooks of rules that name none. */
  readonly hooks: Hooks
  readonly webhooks: readonly Webhook[]
  /** The kinds of events that the log of lives records. */
  readonly lives: readonly LifeWord[]
  /** Whether any channel keeps members. */
  readonly keepPresence: boolean
  /** Whether any rule limits the rate of publishing. */
  readonly limitRates: boolean
  /** Whether clients without credentials may publish to any channel, or the application decides that. */
  readonly letAnyonePublish: boolean
  /** The rule that applies to a channel: the one with the most specific pattern, or the default. */
  of(channel: string): Rule
}
