// Builds rules from a file's content, or defaults if there is no file.

import type { Read } from './kinds.ts'
import { PatternTable } from './match.ts'
import { USER_SEGMENT } from './patterns.ts'
import type { Hook, Hooks, Rule, Rules, Webhook } from './rules.ts'
import type { HookMembers, RuleMembers, WebhookMembers } from './schema.ts'

/** Builds a rule. Omitted members get the defaults. */
export function ruleOf(match: string, members: Read<RuleMembers>, line: number): Rule {
  const { rate } = members
  return {
    match,
    line,
    userSegments: match.split(':').flatMap((segment, index) => (segment === USER_SEGMENT ? [index] : [])),
    subscribe: members.subscribe ?? ['token'],
    publish: members.publish ?? ['nobody'],
    history: members.history ?? {},
    presence: members.presence ?? false,
    maxBody: members.maxBody,
    rate:
      rate?.publish === undefined
        ? undefined
        : { publish: rate.publish, burst: rate.burst ?? Math.max(1, Math.ceil(rate.publish)) },
    transient: members.transient ?? false,
    erasable: members.erasable ?? false,
    slow: members.slow,
    hook: members.hook && hookOf(members.hook),
  }
}

const TIMEOUT_MS = 1000

export function hookOf({ url = '', timeout, headers, secrets, answers, onFailure }: Read<HookMembers>): Hook {
  return {
    url,
    timeout: timeout ?? TIMEOUT_MS,
    headers: (headers ?? ['cookie']).map(name => name.toLowerCase()),
    secrets: secrets ?? [],
    signedAnswers: answers === 'signed',
    onFailure: onFailure ?? 'deny',
  }
}

export function hooksOf(members: Read<Record<keyof Hooks, Read<HookMembers>>> = {}): Hooks {
  return Object.fromEntries(
    Object.entries(members).flatMap(([name, hook]) => (hook === undefined ? [] : [[name, hookOf(hook)]])),
  )
}

export function webhookOf({ url = '', secrets, events, channels, batch }: Read<WebhookMembers>): Webhook {
  return {
    url,
    secrets: secrets ?? [],
    events: events ?? ['*'],
    channels,
    batch: { events: batch?.events ?? 100, within: batch?.within ?? 100 },
  }
}

/** The other contents of a rules file. */
export type RulesExtras = Partial<Pick<Rules, 'open' | 'lives' | 'hooks' | 'webhooks'>>

/** Builds rules from a list that arrives in parts, so that a long one does not block the event loop. */
export class RulesBuilder {
  readonly #list: Rule[] = []
  readonly #table = new PatternTable<Rule>()

  /** Adds rules, in the file's order. */
  add(rules: readonly Rule[]): void {
    for (const rule of rules) {
      this.#list.push(rule)
      this.#table.add(rule.match, rule)
    }
  }

  /** Returns the rules. Nothing may be added afterwards. */
  build(others: Rule, { open, lives = [], hooks = {}, webhooks = [] }: RulesExtras = {}): Rules {
    const all = [...this.#list, others]
    // A request, and a delivery, asks for one channel several times.
    let last = others
    let lastName: string | undefined
    return {
      list: this.#list,
      default: others,
      open,
      lives: [...new Set([...lives, ...webhooks.flatMap(({ events }) => events)])],
      hooks,
      webhooks,
      keepPresence: all.some(({ presence }) => presence),
      limitRates: all.some(({ rate }) => rate !== undefined),
      letAnyonePublish:
        open === 'all' || all.some(({ publish }) => publish.includes('anyone') || publish.includes('hook')),
      of: channel => {
        if (channel !== lastName) {
          last = this.#table.find(channel) ?? others
          lastName = channel
        }
        return last
      },
    }
  }
}

export function createRules(list: readonly Rule[], others: Rule, extras?: RulesExtras): Rules {
  const builder = new RulesBuilder()
  builder.add(list)
  return builder.build(others, extras)
}

/** The rules without a file, beyond loopback: reading requires a token's grant, publishing an API key. */
export const CLOSED_RULES: Rules = createRules([], ruleOf('default', {}, 0))

/** The rules without a file, on loopback: everybody may do everything. If there are `keys`, publish and admin need one. */
export function openRules({ keys }: { readonly keys: boolean }): Rules {
  const others = ruleOf('default', { subscribe: ['anyone'], publish: keys ? ['key'] : ['anyone'] }, 0)
  return createRules([], others, { open: keys ? 'but-keys' : 'all' })
}
