// The members of the rules file, for editors and the node.

import { urlOf } from '../../urls.ts'
import { LIFE_WORDS, type LifeWord } from './life-kinds.ts'
import { CHARACTERS, patternFault } from './patterns.ts'
import {
  choice,
  count,
  duration,
  flag,
  frequency,
  type JsonSchema,
  list,
  object,
  type Read,
  size,
  someOf,
  text,
} from './kinds.ts'
import {
  type HookName,
  ON_FAILURE,
  PUBLISHERS,
  type Publisher,
  SLOW,
  SUBSCRIBERS,
  type Subscriber,
} from './rules.ts'

const SEGMENT = String.raw`(?:[${CHARACTERS}]+|\*|\{user\})`

const SECRET = /^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/

const secrets = list(
  text({ pattern: SECRET.source }, secret =>
    SECRET.test(secret) ? undefined : 'is not whsec_ and 24 to 64 bytes in base64',
  ),
  'Secrets of the signatures. During a rotation, both secrets.',
)

/** The URL to which the application receives requests. */
const applicationUrl = text(
  {
    description: 'https, or http to this machine or to hosts in FANWIRE_HOOKS_PRIVATE.',
    pattern: '^https?://',
  },
  url => {
    const { protocol = '', username = '', hash = '' } = urlOf(url) ?? {}
    if (protocol !== 'https:' && protocol !== 'http:') return 'is not a URL of http or https'
    return username !== '' || hash !== '' ? 'has a user or a fragment' : undefined
  },
)

export interface HookMembers {
  url: string
  timeout: number
  headers: readonly string[]
  secrets: readonly string[]
  answers: (typeof ANSWERS)[number]
  onFailure: (typeof ON_FAILURE)[number]
}

const HEADER = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/
const ANSWERS = ['signed', 'unsigned'] as const

const headers = list(
  text({ pattern: HEADER.source }, name => {
    if (!HEADER.test(name)) return 'is not a valid header name'
    return name.toLowerCase() === 'authorization'
      ? 'carries a key or a token, which are not forwarded'
      : undefined
  }),
  "The client's headers that the application receives. If omitted: cookie.",
)

const hookOf = (about: string) =>
  object<HookMembers>(
    {
      url: applicationUrl,
      timeout: duration('30s', 'How long a response may take. If omitted: 1s.'),
      headers,
      secrets,
      answers: choice(
        ANSWERS,
        'signed: responses are signed with one of the secrets, like requests. If omitted: unsigned.',
      ),
      onFailure: choice(ON_FAILURE, 'The decision if there is no response. If omitted: deny.'),
    },
    {
      required: ['url'],
      about,
      check: ({ answers, secrets = [] }) =>
        answers === 'signed' && secrets.length === 0
          ? 'answers are signed, but there are no secrets'
          : undefined,
    },
  )

const MEMBERS = {
  subscribe: someOf(
    SUBSCRIBERS,
    'Who may read: anyone; user: every token with a user; token: by its caps or a channel token; hook: the application ' +
      'decides; nobody. If omitted: token. API keys have the rights of their grants. With anyone and user, clients may ' +
      'also read history, and presence if it is kept; with token, the caps must have hst and prs.',
  ),
  publish: someOf(
    PUBLISHERS,
    'Who may publish, besides API keys, which have the rights of their grants: anyone; user; token: by its caps; ' +
      'hook: the application decides; key: API keys only; nobody. If omitted: nobody.',
  ),
  history: object(
    {
      events: count(1, 1_000_000, 'The maximum number of events that are kept.'),
      age: duration('3650d', 'How long events are kept.'),
      bytes: size('1024GiB', 'The maximum bytes of data that are kept.'),
    },
    { about: 'How much is kept. The settings apply to omitted members.' },
  ),
  presence: flag('Whether the channel keeps its members, and delivers joins and leaves.'),
  maxBody: size('64MiB', 'The maximum size of an event.'),
  rate: object(
    {
      publish: frequency('Events on average.'),
      burst: count(1, 1_000_000, 'Events at once. If omitted: those of one second.'),
    },
    { required: ['publish'], about: "The rate at which a user's events are accepted." },
  ),
  transient: flag('Whether events are delivered to current readers only, without a position, and not kept.'),
  erasable: flag('Whether events may be erased, so that caches may keep them only briefly.'),
  slow: choice(
    SLOW,
    'What happens to a slow reader: it receives everything later, or only the newest, or it is closed.',
  ),
  hook: hookOf('The hook that decides if subscribe or publish is hook. If omitted: those of hooks.'),
}

export interface RuleMembers {
  subscribe: readonly Subscriber[]
  publish: readonly Publisher[]
  history: Read<{ events: number; age: number; bytes: number }>
  presence: boolean
  maxBody: number
  rate: Read<{ publish: number; burst: number }>
  transient: boolean
  erasable: boolean
  slow: (typeof SLOW)[number]
  hook: Read<HookMembers>
}

const match = text(
  {
    description:
      'A pattern of channels: literal segments between `:`; `*` matches one whole segment, and at the end one or ' +
      'more; `{user}` must equal the user. The rule with the most specific pattern applies.',
    pattern: `^${SEGMENT}(?::${SEGMENT})*$`,
    maxLength: 200,
  },
  pattern => patternFault(pattern, { userSegments: true }),
)

const rule = object<RuleMembers & { match: string }>(
  { match, ...MEMBERS },
  { required: ['match'], about: 'The rule for the channels of a pattern.', check: contradiction },
)

export interface WebhookMembers {
  url: string
  secrets: readonly string[]
  events: readonly LifeWord[]
  channels: readonly string[]
  batch: Read<{ events: number; within: number }>
}

const webhook = object<WebhookMembers>(
  {
    url: applicationUrl,
    secrets,
    events: someOf(LIFE_WORDS, 'The kinds of events to send.'),
    channels: list(
      text({ maxLength: 200 }, pattern => patternFault(pattern)),
      'Patterns of the channels to report on. If omitted: all.',
    ),
    batch: object(
      {
        events: count(1, 1000, 'The maximum number of events in a message. If omitted: 100.'),
        within: duration('10s', 'How long a message waits for more events. If omitted: 100ms.'),
      },
      { about: 'How many events a message carries.' },
    ),
  },
  { required: ['url', 'events'], about: 'A URL of the application that receives events.' },
)

export const RULES_FILE = object(
  {
    $schema: text({ description: 'The URL of this schema, for editors.' }, () => undefined),
    channels: list(rule, 'The rules. The most specific pattern applies to a channel; order does not matter.'),
    default: object<RuleMembers>(MEMBERS, {
      about: 'The rule for channels that no pattern matches. Other rules do not inherit from it.',
      check: contradiction,
    }),
    lives: someOf(
      LIFE_WORDS,
      'The kinds of events in the log of lives: channel.* and presence.* for channels with presence, client.* for all. Default: ' +
        'only the kinds that webhooks need.',
    ),
    hooks: object<Record<HookName, Read<HookMembers>>>(
      {
        connect: hookOf('Decides the identity of a client that sent no token and no key.'),
        refresh: hookOf(
          'Decides whether a client may continue when the time that connect set is nearly over.',
        ),
        subscribe: hookOf('Decides whether a client may read a channel, for rules without a hook.'),
        publish: hookOf('Decides whether a client may publish an event, for rules without a hook.'),
      },
      { about: 'URLs of the application. The node waits for the responses.' },
    ),
    webhooks: list(webhook, 'URLs of the application that receive events.'),
  },
  { about: 'Rules of fanwire: rights on channels, and how much the channels keep.' },
)

function contradiction({
  match: pattern = '',
  subscribe = [],
  publish = [],
  history,
  transient,
}: Read<RuleMembers & { match: string }>): string | undefined {
  for (const [name, words] of Object.entries<readonly string[]>({ subscribe, publish })) {
    if (words.length > 1 && words.includes('nobody')) return `${name} combines nobody with others`
    if (pattern.includes('{user}') && words.includes('anyone')) {
      return `${name} is anyone, but {user} lets in one user only: write user`
    }
  }
  return transient === true && history !== undefined ? 'a transient channel has no history' : undefined
}

/** The JSON Schema of the file (rules.schema.json). */
export function rulesSchema(): JsonSchema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'fanwire rules',
    ...RULES_FILE.schema,
  }
}
