// API keys: the entries of the file, and the identity of a presented key.

import t from 'tap'
import {
  type ApiKeyEntry,
  createApiKeys,
  makeApiKey,
  parseKeysFile,
} from '../../../../services/broker/access/api-keys.ts'
import { BadFileError } from '../../../../services/broker/files/bad-file.ts'

const file = (...entries: readonly unknown[]) => JSON.stringify(entries)

function entriesOf(...made: readonly { entry: unknown }[]): ApiKeyEntry[] {
  return parseKeysFile(file(...made.map(({ entry }) => entry)))
}

t.test('a generated key is found by its entry, which does not contain it', async t => {
  const made = makeApiKey('orders', ['publish', 'history'], ['orders:*'])
  t.match(made.key, /^fw_[A-Za-z0-9_-]{43}$/)
  t.notOk(JSON.stringify(made.entry).includes(made.key))
  const found = createApiKeys(entriesOf(made)).find(made.key)
  t.match(found, {
    ok: true,
    identity: { kind: 'key', key: 'orders', user: '', connectionEndsAt: undefined },
  })
  t.not(makeApiKey('orders', ['publish'], ['*']).key, made.key, 'each generated key is different')
})

t.test('other keys are unknown, whatever their form', async t => {
  const made = makeApiKey('a', ['publish'], ['*'])
  const keys = createApiKeys(entriesOf(made))
  for (const presented of [
    '',
    'fw_',
    made.key.slice(0, -1),
    `${made.key}x`,
    made.key.toUpperCase(),
    String(made.entry.sha256),
  ]) {
    t.strictSame(keys.find(presented), { ok: false, reason: 'unknown' })
  }
  t.strictSame(createApiKeys([]).find(''), { ok: false, reason: 'unknown' })
})

t.test('several keys are valid at once, and one expires at its time', async t => {
  const [old, fresh] = [
    makeApiKey('old', ['publish'], ['*'], '2026-01-01'),
    makeApiKey('new', ['publish'], ['*']),
  ]
  const keys = createApiKeys(entriesOf(old, fresh))
  const end = Date.parse('2026-01-01')
  t.match(keys.find(old.key, end - 1), { ok: true, identity: { key: 'old', connectionEndsAt: end / 1000 } })
  t.strictSame(keys.find(old.key, end), { ok: false, reason: 'expired' })
  t.ok(keys.find(fresh.key, end).ok)
})

t.test('keys of FANWIRE_PUBLISH_KEY may publish to all channels, and nothing else', async t => {
  const found = createApiKeys([], ['first', 'second']).find('second')
  t.match(found, {
    ok: true,
    identity: {
      kind: 'key',
      key: 'publish-key-2',
      grants: [{ source: 'key', list: [{ channels: ['*'], rights: 1 }] }],
    },
  })
})

t.test('faults in the file are reported with entry and member', async t => {
  const good = makeApiKey('a', ['publish'], ['*']).entry
  const table: readonly [string, RegExp][] = [
    ['{', /^the file is not valid JSON$/],
    ['{}', /^the file is not a list/],
    [file(3), /^\[0\]: is not an object/],
    [file(good, {}), /^\[1\]\.id: /],
    [file({ ...good, id: 'with space' }), /^\[0\]\.id: /],
    [file({ ...good, sha256: 'abc' }), /^\[0\]\.sha256: is not 64 hexadecimal digits/],
    [file({ ...good, allow: 'publish' }), /^\[0\]\.allow is not a list/],
    [file({ ...good, allow: [] }), /^\[0\]\.allow: is empty/],
    [
      file({ ...good, allow: ['pub'] }),
      /^\[0\]\.allow has "pub": a right is publish, subscribe, history, presence, admin/,
    ],
    [file({ ...good, channels: ['a:**'] }), /^\[0\]\.channels\[0\] "a:\*\*"/],
    [file({ ...good, channels: ['{user}'] }), /only allowed in rules/],
    [file({ ...good, until: 'tomorrow' }), /^\[0\]\.until: "tomorrow" is not a time/],
    [file({ ...good, until: '2026-13-01' }), /^\[0\]\.until: /],
    [file({ ...good, until: '2026-01-01T10:00' }), /^\[0\]\.until: /],
    [file({ ...good, until: 1790000000 }), /^\[0\]\.until: /],
    [file({ ...good, key: 'fw_secret' }), /^\[0\]\.key: unknown member; a key has id, sha256/],
    [file(good, makeApiKey('a', ['publish'], ['*']).entry), /^\[1\]\.id: \[0\] has the same/],
    [file(good, { ...good, id: 'b' }), /^\[1\]\.sha256: \[0\] has the same/],
  ]
  for (const [text, why] of table) {
    t.throws(() => parseKeysFile(text), { name: BadFileError.name, message: why })
  }
  t.strictSame(
    parseKeysFile(`\ufeff${file(good)}`),
    parseKeysFile(file(good)),
    'a byte order mark is ignored',
  )
  t.throws(() => parseKeysFile(file({ ...good, key: 'fw_secret' })), { message: /^(?!.*fw_secret)/s })
})
