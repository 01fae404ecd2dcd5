// The HMAC that verifies tokens equals that of node:crypto.

import t from 'tap'
import { createHmac, randomBytes, randomInt } from 'node:crypto'
import { hmacWith } from '../../../../services/broker/access/hmac.ts'

const ROUNDS = 300
const NAMES = ['sha256', 'sha384', 'sha512'] as const

t.test('the HMAC equals that of node:crypto, for secrets and texts of many lengths', async t => {
  for (const name of NAMES) {
    for (let round = 0; round < ROUNDS; round++) {
      const secret = randomBytes(round)
      const code = hmacWith(name, secret)
      const texts = ['', randomBytes(randomInt(9000)).toString('base64url'), 'ä€😀\0', 'again']
      const wrong = texts.filter(text => !code(text).equals(createHmac(name, secret).update(text).digest()))
      t.same(wrong, [], `${name}, ${round} bytes: ${secret.toString('hex')}`)
    }
  }
})

t.test('later changes to the secret change nothing', async t => {
  const secret = randomBytes(64)
  const expected = createHmac('sha256', secret).update('text').digest()
  const code = hmacWith('sha256', secret)
  secret.fill(0)
  t.same(code('text'), expected)
})
