// `fanwire hooks`: where each webhook stands, how far behind it is; and tells one everything again from a cursor on.

import { parseArgs } from 'node:util'
import { keyIn } from './explain.ts'
import { type Command, Misused, print, readArgs, remark } from './command.ts'

const OPTIONS = {
  url: { type: 'string' },
  key: { type: 'string' },
  'key-file': { type: 'string' },
  replay: { type: 'string' },
  from: { type: 'string' },
  json: { type: 'boolean' },
} as const

const CANNOT_ASK = 3
const ANSWER_MS = 10_000

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
  help: `fanwire hooks --url URL [--key KEY]: says where each webhook stands, and how far behind it is

  --url URL        a node, such as http://127.0.0.1:8080
  --key KEY        an API key with the right admin; --key-file FILE reads it from a file
  --replay ID      tells that webhook everything again
  --from CURSOR    from there on: earliest (unless given), latest, or a cursor of the log of lives
  --json           the answer as it came

Exit codes: 0 done; 2 not called rightly; 3 the node could not be asked.`,

  async run(args) {
    const {
      url,
      key,
      'key-file': keyFile,
      replay,
      from = 'earliest',
      json = false,
    } = readArgs(() => parseArgs({ args: [...args], options: OPTIONS })).values
    if (url === undefined || !URL.canParse('/v1/admin/webhooks', url))
      throw new Misused('--url is missing or none')
    const bearer = key ?? (await keyIn(keyFile))
    const path = replay === undefined ? '' : `/${encodeURIComponent(replay)}/replay`
    const answer = await ask(
      new URL(`/v1/admin/webhooks${path}`, url),
      bearer,
      replay === undefined ? undefined : { cursor: from },
    )
    if (typeof answer === 'string') {
      remark(answer)
      return CANNOT_ASK
    }
    if (json) print(JSON.stringify(answer))
    else if (replay !== undefined) print(`${replay} is told again from ${from}`)
    else print(...inWords(answer as Listed))
    return 0
  },
}

/** The answer, or why there is none. */
async function ask(url: URL, key: string | undefined, body: object | undefined): Promise<object | string> {
  try {
    const answer = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS),
    })
    const told = (await answer.json()) as { error?: { code: string; message: string } }
    return told.error === undefined ? told : `${told.error.code}: ${told.error.message}`
  } catch (error) {
    const { cause = error } = error as Error
    return `${url.origin} could not be asked: ${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message}`
  }
}

function inWords({ sender = 'none', webhooks }: Listed): string[] {
  if (webhooks.length === 0) return ['the rules file has no webhooks']
  return [
    `sent by node ${sender}`,
    ...webhooks.map(({ id, url, behind, failing, stopped }) => {
      const state = stopped ?? (failing === undefined ? 'is told' : `fails: ${failing}`)
      return `  ${id}  ${url}  ${state}${behind === undefined ? '' : `, ${behind} behind`}`
    }),
  ]
}
