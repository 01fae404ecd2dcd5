// `fanwire explain`: asks a node which rule allows or denies a right, or why an event did or did not reach a user.

import { parseArgs } from 'node:util'
import { askAdmin, CANNOT_ASK, keyIn, routeAt } from './admin-node.ts'
import { type Command, print, readArgs, remark } from './command.ts'

const OPTIONS = {
  url: { type: 'string' },
  key: { type: 'string' },
  'key-file': { type: 'string' },
  user: { type: 'string' },
  token: { type: 'string' },
  right: { type: 'string' },
  channel: { type: 'string' },
  id: { type: 'string' },
  json: { type: 'boolean' },
} as const

const DENIED = 1

export const explain: Command = {
  help: `fanwire explain --url URL [--key KEY] QUESTION: explains a decision of a node (POST /v1/admin/explain)

  --url URL        a node, such as http://127.0.0.1:8080
  --key KEY        an API key with the right admin; --key-file FILE reads it from a file

Which rule allows or denies a right:
  --user USER | --token TOKEN  --right RIGHT  --channel CHANNEL
Why an event did or did not reach a user:
  --user USER  --channel CHANNEL  --id EVENT

  --json           the response as JSON

Exit codes: 0 allowed, or an event was explained; 1 denied, or left to the application; 2 wrong usage; 3 the node could not be reached, or refused.`,

  async run(args) {
    const {
      url,
      key,
      'key-file': keyFile,
      json = false,
      ...asked
    } = readArgs(() => parseArgs({ args: [...args], options: OPTIONS })).values
    const route = routeAt(url, '/v1/admin/explain')
    const answer = await askAdmin<Answer>(route, key ?? (await keyIn(keyFile)), asked)
    if (typeof answer === 'string') {
      remark(answer)
      return CANNOT_ASK
    }
    print(...(json ? [JSON.stringify(answer)] : inWords(answer)))
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
