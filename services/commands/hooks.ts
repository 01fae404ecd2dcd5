// `fanwire hooks`: the progress of each webhook, and how far it is behind. Replays events from a cursor.

import { parseArgs } from 'node:util'
import { askAdmin, CANNOT_ASK, keyIn, routeAt } from './admin-node.ts'
import { type Command, print, readArgs, remark } from './command.ts'

const OPTIONS = {
  url: { type: 'string' },
  key: { type: 'string' },
  'key-file': { type: 'string' },
  replay: { type: 'string' },
  from: { type: 'string' },
  json: { type: 'boolean' },
} as const

interface Listed {
  readonly sender?: string
  readonly webhooks: readonly {
    readonly id: string
    readonly url: string
    readonly behind?: number
    readonly cursor?: string
    readonly failing?: string
    readonly stopped?: string
  }[]
}

export const hooks: Command = {
  help: `fanwire hooks --url URL [--key KEY]: shows the progress of each webhook, and how far it is behind

  --url URL        a node, such as http://127.0.0.1:8080
  --key KEY        an API key with the right admin; --key-file FILE reads it from a file
  --replay ID      sends events to that webhook again
  --from CURSOR    starting there: earliest (the default), latest, or a cursor of the log of lives
  --json           the response as JSON

Exit codes: 0 done; 2 wrong usage; 3 the node could not be reached, or refused.`,

  async run(args) {
    const {
      url,
      key,
      'key-file': keyFile,
      replay,
      from = 'earliest',
      json = false,
    } = readArgs(() => parseArgs({ args: [...args], options: OPTIONS })).values
    const path = replay === undefined ? '' : `/${encodeURIComponent(replay)}/replay`
    const route = routeAt(url, `/v1/admin/webhooks${path}`)
    const body = replay === undefined ? undefined : { cursor: from }
    const answer = await askAdmin(route, key ?? (await keyIn(keyFile)), body)
    if (typeof answer === 'string') {
      remark(answer)
      return CANNOT_ASK
    }
    if (json) print(JSON.stringify(answer))
    else if (replay !== undefined) print(`${replay} is replayed from ${from}`)
    else print(...inWords(answer as Listed))
    return 0
  },
}

function inWords({ sender = 'none', webhooks }: Listed): string[] {
  if (webhooks.length === 0) return ['the rules file has no webhooks']
  return [
    `sent by node ${sender}`,
    ...webhooks.map(({ id, url, behind, failing, stopped }) => {
      const state = stopped ?? (failing === undefined ? 'ok' : `fails: ${failing}`)
      return `  ${id}  ${url}  ${state}${behind === undefined ? '' : `, ${behind} behind`}`
    }),
  ]
}
