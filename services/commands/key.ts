// `fanwire key`: creates an API key.

import { randomBytes } from 'node:crypto'
import { readFile, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { makeApiKey, parseKeysFile } from '../broker/access/api-keys.ts'
import { readKeyRights } from '../broker/access/grants.ts'
import { BadFileError } from '../broker/files/bad-file.ts'
import { type Command, Misused, print, readArgs, remark } from './command.ts'

const OPTIONS = {
  id: { type: 'string' },
  allow: { type: 'string' },
  channels: { type: 'string' },
  until: { type: 'string' },
  file: { type: 'string' },
  json: { type: 'boolean' },
} as const

/** The file's mode: only its owner may read it, although it has only the hashes of keys. */
const MODE = 0o600

export const key: Command = {
  help: `fanwire key --id ID --allow RIGHTS [--channels PATTERNS] [--until TIME] [--file FILE]: creates an API key

  --id ID              names the key in logs: letters, digits and _ . @ -
  --allow RIGHTS       publish, subscribe, history, presence, admin; separated by commas
  --channels PATTERNS  its channels, separated by commas (default: *, all); add a pattern that contains a comma to the file by hand
  --until TIME         when the key expires, such as 2027-01-31 or 2027-01-31T12:00:00Z
  --file FILE          adds the key's entry to this file (FANWIRE_KEYS_FILE); without it, the entry is printed
  --json               prints {"key","entry"}

The key is printed once and not stored: the entry contains its hash.
Example: fanwire key --id shop --allow publish --channels 'orders:*' --file keys.json`,

  async run(args) {
    const {
      id,
      allow,
      channels = '*',
      until,
      file,
      json,
    } = readArgs(() => parseArgs({ args: [...args], options: OPTIONS })).values
    if (id === undefined) throw new Misused('--id is missing')
    if (allow === undefined) throw new Misused('--allow is missing')
    const rights = readKeyRights('--allow', listOf(allow))
    if (typeof rights === 'string') throw new Misused(rights)
    try {
      const made = makeApiKey(id, rights, listOf(channels), until)
      if (file !== undefined) await add(file, made.entry)
      if (json) print(JSON.stringify({ key: made.key, entry: made.entry }))
      else print(made.key, ...(file === undefined ? [JSON.stringify(made.entry)] : []))
      if (file !== undefined) remark(`its entry is in ${file}; the key itself is not stored`)
      return 0
    } catch (error) {
      // The fault is in an option's value: key.id is --id.
      if (error instanceof BadFileError) throw new Misused(error.message.replace(/^key\.(\w+):?/, '--$1'))
      throw error
    }
  },
}

const listOf = (text: string) => text.split(',').map(each => each.trim())

/** Adds an entry in one step, so that no node reads half a file. Raises BadFileError. */
async function add(path: string, entry: Record<string, unknown>): Promise<void> {
  const text = await read(path)
  const before = text === undefined ? [] : entriesOf(path, text)
  if (before.some(({ id }) => id === entry.id))
    throw new BadFileError(`${path} has a key with the id ${entry.id}: choose another --id`)
  const after = `${JSON.stringify([...before, entry], undefined, 2)}\n`
  parseKeysFile(after)
  const mode = await stat(path).then(
    ({ mode }) => mode & 0o777,
    () => MODE,
  )
  const beside = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await writeFile(beside, after, { mode, flag: 'wx' })
    await rename(beside, path)
  } catch (error) {
    await unlink(beside).catch(() => {})
    throw fault(path, 'written', error)
  }
}

function entriesOf(path: string, text: string): { readonly id?: string }[] {
  try {
    parseKeysFile(text)
  } catch (error) {
    if (error instanceof BadFileError) throw new BadFileError(`${path}: ${error.message}`)
    throw error
  }
  return JSON.parse(text.replace(/^\ufeff/, '')) as { id?: string }[]
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fault(path, 'read', error)
  }
}

function fault(path: string, what: 'read' | 'written', error: unknown): BadFileError {
  return new BadFileError(`${path} cannot be ${what}: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`)
}
