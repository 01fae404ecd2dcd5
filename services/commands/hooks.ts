// `fanwire hooks`: the progress of each webhook, and how far it is behind. Replays events from a cursor.

import { parseArgs } from 'node:util'
import { ADMIN_HELP, ADMIN_OPTIONS, askAdmin } from './admin-node.ts'
import { type Command, print, readArgs } from './command.ts'

const OPTIONS = {
  ...ADMIN_OPTIONS,
  replay: { type: 'string' },
  from: { type: 'string' },
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
  help: `fanwire hooks [--replay ID]: shows the progress of each webhook, and how far it is behind

${ADMIN_HELP}
  --replay ID      sends events to that webhook again
  --from CURSOR    starting there: earliest (the default), latest, or a cursor of the log of lives
  --json           the response as JSON

Exit codes: 0 done; 2 wrong usage; 3 the node could not be reached, or refused.`,

  async run(args) {
    const { values } = readArgs(() => parseArgs({ args: [...args], options: OPTIONS }))
    const { replay, from = 'earliest' } = values
    const path = replay === undefined ? '' : `/${encodeURIComponent(replay)}/replay`
    const body = replay === undefined ? undefined : { cursor: from }
    const answer = await askAdmin(values, `/v1/admin/webhooks${path}`, body)
    if (values.json) print(JSON.stringify(answer))
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
