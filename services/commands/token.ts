// `fanwire token`: creates a user's token, and shows what a token grants or why it is refused.

import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { NO_KEYS, parseJwks, type TokenKeys } from '../broker/access/jwks.ts'
import { createTokens } from '../broker/access/tokens.ts'
import { BadFileError } from '../broker/files/bad-file.ts'
import { tokenKeysInEnvironment } from '../config/config.ts'
import { duration } from '../config/kinds.ts'
import { type Command, Misused, print, readArgs, remark } from './command.ts'

const OPTIONS = {
  keys: { type: 'string' },
  kid: { type: 'string' },
  user: { type: 'string' },
  allow: { type: 'string' },
  channels: { type: 'string' },
  for: { type: 'string' },
  info: { type: 'string' },
  json: { type: 'boolean' },
} as const

const REFUSED = 1
/** Reasons that apply only because there are no keys. */
const NEED_KEYS: ReadonlySet<string> = new Set(['unknown_key', 'keys_away', 'algorithm'])
const MALFORMED_ADVICE =
  'copy the whole token, header.claims.signature, without Bearer before it; fanwire token mint makes one. An API key is ' +
  'not a token: clients send it as it is'
const LIFETIME = duration('1s', '365d')

export const token: Command = {
  help: `fanwire token mint --user USER [--keys FILE]: creates a token (JWT) for a user, for tests and scripts
fanwire token check TOKEN [--keys FILE]: shows what a token grants, or why it is refused

  --keys FILE         the key set of the nodes (default: FANWIRE_JWT_KEYS_FILE); mint signs with its first secret
                      (kty oct)
  --kid KID           signs with this key
  --user USER         the claim sub
  --allow RIGHTS      sub, pub, prs, hst, separated by commas; with --channels, the claim caps
  --channels PATTERNS the channels that the rights apply to, separated by commas
  --for TIME          lifetime (default: 1h)
  --info JSON         shown by presence with the user
  --json              prints JSON: {"token"}, or {"ok","signature","claims"} with "reason" and "message" if it is refused

Without a key set, check does not verify the signature, and says so.
Exit codes: 0 valid, 1 refused, 2 wrong usage.
Example: fanwire token mint --keys jwks.json --user ada --allow sub,pub --channels 'chat:*'`,

  async run(args) {
    const { values, positionals } = readArgs(() =>
      parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true }),
    )
    const [what, text, ...more] = positionals
    const keys = values.keys ?? tokenKeysInEnvironment()
    if (what === 'mint' && text === undefined) {
      const minted = await mint({ ...values, keys })
      print(values.json ? JSON.stringify({ token: minted }) : minted)
      return 0
    }
    if (what !== 'check' || text === undefined || more.length > 0)
      throw new Misused('use mint, or check TOKEN')
    return await check(text.trim(), keys, values.json === true)
  },
}

interface Minting {
  readonly keys: string | undefined
  readonly kid?: string
  readonly user?: string
  readonly allow?: string
  readonly channels?: string
  readonly for?: string
  readonly info?: string
}

const listOf = (text: string) => text.split(',').map(each => each.trim())
const segment = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

async function mint({
  keys,
  kid,
  user,
  allow,
  channels,
  for: lifetime = '1h',
  info,
}: Minting): Promise<string> {
  if (keys === undefined) throw new Misused('--keys is missing, and FANWIRE_JWT_KEYS_FILE is not set')
  if (user === undefined) throw new Misused('--user is missing')
  if ((allow === undefined) !== (channels === undefined))
    throw new Misused('--allow and --channels go together')
  const ms = LIFETIME.parse(lifetime)
  if (ms === undefined) throw new Misused(`--for is ${LIFETIME.expects}`)
  const text = await read(keys)
  const known = keysOf(keys, text)
  const all = (JSON.parse(text) as { keys: Record<string, string>[] }).keys
  const key = all.find(each => each.kty === 'oct' && (kid === undefined || each.kid === kid))
  if (key?.k === undefined)
    throw new Misused(
      `${keys} has no secret (kty oct)${kid === undefined ? '' : ` with the kid ${kid}`}: sign elsewhere`,
    )
  const { alg = 'HS256' } = key
  const iat = Math.floor(Date.now() / 1000)
  const claims = {
    sub: user,
    iat,
    exp: iat + Math.ceil(ms / 1000),
    ...(key.iss !== undefined && { iss: key.iss }),
    ...(key.aud !== undefined && { aud: key.aud }),
    ...(info !== undefined && { info: jsonOf('--info', info) }),
    ...(allow !== undefined && { caps: [{ channels: listOf(channels ?? ''), allow: listOf(allow) }] }),
  }
  const input = `${segment({ typ: 'JWT', alg, ...(key.kid !== undefined && { kid: key.kid }) })}.${segment(claims)}`
  const made = `${input}.${createHmac(`sha${alg.slice(2)}`, Buffer.from(key.k, 'base64url'))
    .update(input)
    .digest('base64url')}`
  const result = verifier(known).verify(made)
  if (!result.ok) throw new Misused(`nodes would refuse this token: ${result.message}`)
  return made
}

const verifier = (keys: TokenKeys) =>
  createTokens({ source: { keys, known: true, refresh: async () => false } })

async function check(text: string, file: string | undefined, json: boolean): Promise<number> {
  const keys = file === undefined ? NO_KEYS : keysOf(file, await read(file))
  const tokens = verifier(keys)
  const result = tokens.verify(text)
  const claims = claimsOf(text)
  const unsigned = file === undefined && !result.ok && NEED_KEYS.has(result.reason)
  const channelToken =
    !result.ok && claims?.channel !== undefined
      ? tokens.verifyChannel(text, String(claims.sub ?? ''))
      : undefined
  const good = unsigned || result.ok || channelToken?.ok === true
  const refused = channelToken?.ok === false ? channelToken : result
  if (json) {
    const why = good || refused.ok ? {} : { reason: refused.reason, message: refused.message }
    print(JSON.stringify({ ok: good, signature: unsigned ? 'not checked' : good, ...why, claims }))
    return good ? 0 : REFUSED
  }
  if (!good && !refused.ok) print(`refused: ${refused.reason}: ${refused.message}`)
  if (!good && !refused.ok && refused.reason === 'malformed') remark(MALFORMED_ADVICE)
  if (unsigned) remark('the signature was not checked: use --keys FILE, or set FANWIRE_JWT_KEYS_FILE')
  if (claims !== undefined) print(...aboutClaims(claims))
  return good ? 0 : REFUSED
}

function claimsOf(text: string): Record<string, unknown> | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString())
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function aboutClaims({ sub, exp, caps, channel }: Record<string, unknown>): string[] {
  const until =
    typeof exp === 'number' && Math.abs(exp) < 8e12 ? new Date(exp * 1000).toISOString() : 'for ever'
  const grants = Array.isArray(caps) ? caps : []
  return [
    `user ${JSON.stringify(sub ?? '')}, until ${until}`,
    ...(channel === undefined ? [] : [`for a channel: ${JSON.stringify(channel)}`]),
    ...grants.map(each => `grants ${JSON.stringify(each)}`),
  ]
}

function keysOf(file: string, text: string): TokenKeys {
  try {
    return parseJwks(text)
  } catch (error) {
    if (error instanceof BadFileError || error instanceof Error)
      throw new Misused(`${file}: ${error.message}`)
    throw error
  }
}

async function read(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/^\ufeff/, '')
  } catch (error) {
    throw new Misused(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

function jsonOf(name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Misused(`${name} is not JSON`)
  }
}
