// `fanwire explain`: asks a node which rule allows or denies a right, or why an event did or did not reach a user.

import { parseArgs } from 'node:util'
import { ADMIN_HELP, ADMIN_OPTIONS, askAdmin } from './admin-node.ts'
import { type Command, Misused, print, readArgs } from './command.ts'

const OPTIONS = {
  ...ADMIN_OPTIONS,
  user: { type: 'string' },
  token: { type: 'string' },
  right: { type: 'string' },
  channel: { type: 'string' },
  id: { type: 'string' },
} as const

const DENIED = 1

export const explain: Command = {
  help: `fanwire explain QUESTION: explains a decision of a node (POST /v1/admin/explain)

${ADMIN_HELP}

Which rule allows or denies a right:
  --user USER | --token TOKEN  --right RIGHT  --channel CHANNEL
Why an event did or did not reach a user:
  --user USER  --channel CHANNEL  --id EVENT

  --json           the response as JSON

Exit codes: 0 allowed, or an event was explained; 1 denied, or left to the application; 2 wrong usage; 3 the node could not be reached, or refused.`,

  async run(args) {
    const { values } = readArgs(() => parseArgs({ args: [...args], options: OPTIONS }))
    const { user, token, right, channel, id } = values
    if (channel === undefined || (user ?? token) === undefined || (right ?? id) === undefined)
      throw new Misused('name a --channel, a --user or a --token, and a --right or the --id of an event')
    const answer = await askAdmin<Answer>(values, '/v1/admin/explain', { user, token, right, channel, id })
    print(...(values.json ? [JSON.stringify(answer)] : inWords(answer)))
    return answer.allowed === false ? DENIED : 0
  },
}

interface Answer {
  readonly allowed?: boolean
  readonly why: string
  readonly hook?: object | null
  readonly readers?: readonly {
    readonly node: string
    readonly client: string
    readonly wire: string
    readonly position?: string
    readonly why: string
  }[]
  readonly silent?: readonly string[]
}

function inWords({ allowed, why, hook, readers = [], silent = [] }: Answer): string[] {
  const decision =
    allowed === undefined
      ? why
      : `${allowed ? 'allowed' : hook ? 'the application decides' : 'denied'}: ${why}`
  return [
    decision,
    ...readers.map(
      ({ node, client, wire, position = '?', why }) =>
        `  ${wire} connection ${client} on node ${node}, at ${position}: ${why}`,
    ),
    ...silent.map(node => `  node ${node} did not answer`),
  ]
}
