// Commands for Redis, as bytes.

import fc from 'fast-check'
import { Command } from 'ioredis'
import t from 'tap'
import { printCommand } from '../../../../services/broker/log/redis/resp.ts'

t.test('a command is printed as the driver prints it', async () => {
  const text = fc.string({ unit: 'binary' })
  const bytes = fc.uint8Array().map(array => Buffer.from(array))
  fc.assert(
    fc.property(fc.array(fc.oneof(text, bytes, fc.integer(), fc.constant(''))), args => {
      const expected = new Command('evalsha', [...args], {}).toWritable({})
      return printCommand('evalsha', args).equals(Buffer.from(expected))
    }),
  )
})
