// Token buckets, by a clock of the test's own.

import t from 'tap'
import { Bucket, Buckets } from '../../../../services/broker/limits/buckets.ts'

const allowance = { burst: 4, perSecond: 2 }

t.test('a bucket says to the ms when there is enough again', async t => {
  const bucket = new Bucket()
  t.equal(bucket.wait(allowance, 4, 0), 0)
  bucket.spend(allowance, 4, 0)
  t.equal(bucket.wait(allowance, 1, 0), 500)
  t.equal(bucket.wait(allowance, 1, 499), 1)
  t.equal(bucket.wait(allowance, 1, 500), 0)
  t.equal(bucket.wait(allowance, 3, 500), 1000)
  t.equal(bucket.wait(allowance, 1, 400), 100, 'a clock that goes back takes nothing')
})

t.test('what is larger than the burst needs a full bucket, and leaves a debt', async t => {
  const bucket = new Bucket()
  t.equal(bucket.wait(allowance, 10, 0), 0)
  bucket.spend(allowance, 10, 0)
  t.equal(bucket.wait(allowance, 1, 0), 3500)
  t.equal(bucket.wait(allowance, 10, 0), 5000)
  t.equal(bucket.wait(allowance, 10, 5000), 0)
})

t.test('what others took is missing, up to all of it and a second; a debt of its own stays', async t => {
  const bucket = new Bucket()
  bucket.debit(allowance, 3, 0)
  t.equal(bucket.wait(allowance, 1, 0), 0)
  t.equal(bucket.wait(allowance, 2, 0), 500)
  bucket.debit(allowance, 1000, 0)
  t.equal(bucket.wait(allowance, 1, 0), 3500)
  const indebted = new Bucket()
  indebted.spend(allowance, 100, 0)
  indebted.debit(allowance, 1, 0)
  t.equal(indebted.wait(allowance, 1, 0), 48_500)
  t.equal(bucket.untold, 0)
  t.equal(indebted.untold, 100)
})

t.test('a table forgets who has all of it again, and never holds more than it may', async t => {
  const buckets = new Buckets(1000)
  const spend = (name: string, now: number) => buckets.of(name, allowance, now).spend(allowance, 4, now)
  for (let i = 0; i < 100_000; i++) spend(`stranger ${i}`, 0)
  t.equal(buckets.size, 1000)
  t.ok(buckets.known('stranger 99999'))
  t.notOk(buckets.known('stranger 0'))
  spend('late', 2000)
  t.equal(buckets.size, 1)
})

t.test('who is asked about goes on being remembered', async t => {
  const buckets = new Buckets(2)
  const spend = (name: string) => buckets.of(name, allowance, 0).spend(allowance, 4, 0)
  for (const name of ['a', 'b', 'a', 'c']) spend(name)
  t.strictSame(
    [...buckets].map(([name]) => name),
    ['a', 'c'],
  )
})
