// Almost valid inputs: well-formed ones with little damage, because pure noise is rejected at once.

import type { Random } from '../support/random.ts'

/** Bytes that parsers look for. */
const MARKS = [
  '\0',
  '\r\n',
  '\n',
  '"',
  '\\',
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '.',
  '%',
  '%00',
  '*',
  '..',
  '\ud800',
  'é',
]
const NUMBERS = [
  '0',
  '-1',
  '1e999',
  '9007199254740993',
  '0x10',
  'NaN',
  'null',
  'true',
  '""',
  '{}',
  '[]',
  '-0',
  '1.5',
]
const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'then', 'length', 'fanwire:control']

/** Damages a text in one to four places. */
export function damaged(random: Random, text: string): string {
  let damagedText = text
  for (let left = 1 + random.below(4); left > 0; left--) damagedText = damagedOnce(random, damagedText)
  return damagedText
}

function damagedOnce(random: Random, text: string): string {
  const at = random.below(text.length + 1)
  const to = Math.min(text.length, at + 1 + random.below(8))
  const [before, cut, after] = [text.slice(0, at), text.slice(at, to), text.slice(to)]
  switch (random.below(8)) {
    case 0:
      return before + after
    case 1:
      return before + cut + cut + after
    case 2:
      return before + random.pick(MARKS) + after
    case 3:
      return before + random.pick(MARKS) + cut + after
    case 4:
      return before + random.bytes(1 + random.below(6)).toString('latin1') + after
    case 5:
      return text.replace(/\d+|true|false|null/, random.pick(NUMBERS))
    case 6:
      return text.replace(/"[a-z]+"/, `"${random.pick(NAMES)}"`)
    default:
      return before + cut.repeat(random.below(random.oneIn(50) ? 5000 : 20)) + after
  }
}

/** Any JSON, a few levels deep. */
export function anyJson(random: Random, depth = 3): unknown {
  switch (random.below(depth > 0 ? 8 : 6)) {
    case 0:
      return random.below(2 ** 31) * random.pick([1, -1, 1e9, 1e-3])
    case 1:
      return random.bytes(random.below(12)).toString('latin1')
    case 2:
      return random.pick([null, true, false, ''])
    case 3:
      return random.pick(NAMES)
    case 4:
      return random.pick(['room:1', 'room:*', 'inbox:{user}', 'open:1', '**', 'sub', 'pub'])
    case 5:
      return Math.floor(Date.now() / 1000) + random.pick([-20, -5, 0, 60])
    case 6:
      return Array.from({ length: random.below(4) }, () => anyJson(random, depth - 1))
    default: {
      const names = [...NAMES, 'sub', 'exp', 'caps', 'channel', 'channels', 'allow', 'data', 'token', 'key']
      return Object.fromEntries(
        Array.from({ length: random.below(4) }, () => [random.pick(names), anyJson(random, depth - 1)]),
      )
    }
  }
}
