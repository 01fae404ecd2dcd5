// Token buckets, with a mocked clock.

import t from 'tap'
import { Bucket, Buckets } from '../../../../services/broker/limits/buckets.ts'

const allowance = { burst: 4, perSecond: 2 }

t.test('a bucket reports to the ms when it has enough again', async t => {
  const bucket = new Bucket()
  t.equal(bucket.wait(allowance, 4, 0), 0)
  bucket.spend(allowance, 4, 0)
  t.equal(bucket.wait(allowance, 1, 0), 500)
  t.equal(bucket.wait(allowance, 1, 499), 1)
  t.equal(bucket.wait(allowance, 1, 500), 0)
  t.equal(bucket.wait(allowance, 3, 500), 1000)
  t.equal(bucket.wait(allowance, 1, 400), 100, 'a clock that goes back has no effect')
})

t.test('a request larger than the burst needs a full bucket, and leaves a debt', async t => {
  const bucket = new Bucket()
  t.equal(bucket.wait(allowance, 10, 0), 0)
  bucket.spend(allowance, 10, 0)
  t.equal(bucket.wait(allowance, 1, 0), 3500)
  t.equal(bucket.wait(allowance, 10, 0), 5000)
  t.equal(bucket.wait(allowance, 10, 5000), 0)
})

t.test(
  'tokens used on other nodes are subtracted, up to a full bucket and one second; a local debt stays',
  async t => {
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
    t.equal(bucket.unreported, 0)
    t.equal(indebted.unreported, 100)
  },
)

t.test('a table drops full buckets, and never exceeds its size', async t => {
  const buckets = new Buckets(1000)
  const spend = (name: string, now: number) => buckets.of(name, allowance, now).spend(allowance, 4, now)
  for (let i = 0; i < 100_000; i++) spend(`stranger ${i}`, 0)
  t.equal(buckets.size, 1000)
  t.ok(buckets.known('stranger 99999'))
  t.notOk(buckets.known('stranger 0'))
  spend('late', 2000)
  t.equal(buckets.size, 1)
})

t.test('a bucket in use stays in the table', async t => {
  const buckets = new Buckets(2)
  const spend = (name: string) => buckets.of(name, allowance, 0).spend(allowance, 4, 0)
  for (const name of ['a', 'b', 'a', 'c']) spend(name)
  t.strictSame(
    [...buckets].map(([name]) => name),
    ['a', 'c'],
  )
})
