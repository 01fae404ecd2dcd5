// The client address of a request: that of its socket, or the one that trusted proxies report.

import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { trustedProxies } from '../../../services/config/kinds.ts'
import { Addresses, ownerOf } from '../../../services/http/address.ts'

function requestOf(remoteAddress: string, headers: Record<string, string>) {
  return { raw: { socket: { remoteAddress }, headers } } as unknown as FastifyRequest
}

/** The client address. `trust`: the text of the setting. */
function client(trust: string | undefined, socket: string, headers: Record<string, string>): string {
  const trusted = trust === undefined ? undefined : trustedProxies.parse(trust)
  if (trust !== undefined && trusted === undefined) throw new Error(`malformed: ${trust}`)
  return new Addresses(trusted).of(requestOf(socket, headers))
}

const xff = (list: string) => ({ 'x-forwarded-for': list })

t.test("without trust the socket's address counts, whatever a client claims", async t => {
  t.equal(client(undefined, '192.0.2.1', xff('203.0.113.5')), '192.0.2.1')
  t.equal(client(undefined, '192.0.2.1', { forwarded: 'for=203.0.113.5' }), '192.0.2.1')
  t.equal(
    client('10.0.0.0/8', '192.0.2.1', xff('203.0.113.5')),
    '192.0.2.1',
    'the header of an untrusted proxy is ignored',
  )
})

t.test('behind trusted proxies the rightmost untrusted address counts', async t => {
  const trust = '10.0.0.0/8,fd00::/8,192.0.2.7'
  for (const [list, expected] of [
    ['203.0.113.5', '203.0.113.5'],
    // Entries that the client itself wrote are further left.
    ['1.1.1.1, 203.0.113.5', '203.0.113.5'],
    ['1.1.1.1, 203.0.113.5, 10.9.9.9', '203.0.113.5'],
    ['10.1.1.1, 203.0.113.5, 192.0.2.7,10.9.9.9', '203.0.113.5'],
    ['203.0.113.5:4711', '203.0.113.5'],
    ['2001:db8:1:2:3::4', '2001:db8:1:2'],
    ['[2001:db8:1:2::4]:99', '2001:db8:1:2'],
    ['::ffff:203.0.113.5', '203.0.113.5'],
    ['203.0.113.5, fd00::1', '203.0.113.5'],
    // All entries are trusted proxies: the first one counts.
    ['10.2.2.2, 10.3.3.3', '10.2.2.2'],
    // An entry that is not an address: entries left of it are not trusted.
    ['203.0.113.5, unknown', '10.0.0.1'],
    ['203.0.113.5, unknown, 10.4.4.4', '10.4.4.4'],
    ['', '10.0.0.1'],
    [', ,', '10.0.0.1'],
  ] as const) {
    t.equal(client(trust, '10.0.0.1', xff(list)), expected, list)
  }
  t.equal(client(trust, '::ffff:10.0.0.1', xff('203.0.113.5')), '203.0.113.5')
})

t.test('a number of hops is counted from the right, and no further', async t => {
  t.equal(client('1', '10.0.0.1', xff('1.1.1.1, 203.0.113.5')), '203.0.113.5')
  t.equal(client('2', '10.0.0.1', xff('1.1.1.1, 203.0.113.5, 10.0.0.2')), '203.0.113.5')
  t.equal(client('3', '10.0.0.1', xff('203.0.113.5')), '203.0.113.5')
})

t.test('Forwarded is parsed as RFC 7239 specifies', async t => {
  for (const [forwarded, expected] of [
    ['for=203.0.113.5', '203.0.113.5'],
    ['for=1.1.1.1, FOR=203.0.113.5;proto=https;by=10.0.0.1', '203.0.113.5'],
    ['proto=http; for="[2001:db8:1:2::9]:4711"', '2001:db8:1:2'],
    ['for="1.1.1.1, for=2.2.2.2", for=203.0.113.5', '203.0.113.5'],
    ['for=_hidden', '10.0.0.1'],
    ['xfor=1.1.1.1', '10.0.0.1'],
    ['by=1.1.1.1', '10.0.0.1'],
    // An open quote must not include the proxy's entry.
    ['for=1.1.1.1;x=", for="[2001:db8::1]"', '10.0.0.1'],
    ['for=1.1.1.1;x="\\", for="[2001:db8::1]"', '10.0.0.1'],
  ] as const) {
    t.equal(client('10.0.0.0/8', '10.0.0.1', { forwarded }), expected, forwarded)
  }
})

t.test('a header unknown to the proxy lets nobody claim another address', async t => {
  const headers = { forwarded: 'for=1.1.1.1', ...xff('203.0.113.5') }
  t.equal(client('10.0.0.0/8', '10.0.0.1', headers), '10.0.0.1')
  t.equal(client('10.0.0.0/8', '10.0.0.1', { ...headers, forwarded: 'for=203.0.113.5' }), '203.0.113.5')
})

t.test('connections of a trusted proxy do not count as one client', async t => {
  const addresses = new Addresses(trustedProxies.parse('10.0.0.0/8'))
  t.equal(addresses.ofSocket({ remoteAddress: '::ffff:10.0.0.1' }), undefined)
  t.equal(addresses.ofSocket({ remoteAddress: '203.0.113.5' }), '203.0.113.5')
  t.equal(new Addresses(undefined).ofSocket({ remoteAddress: '10.0.0.1' }), '10.0.0.1')
})

t.test('an IPv6 address counts by its first 64 bits, however it is written', async t => {
  for (const address of ['2001:db8:0:7::1', '2001:0DB8:0000:0007:ffff::', '2001:db8:0:7:1:2:3:4']) {
    t.equal(ownerOf(address), '2001:db8:0:7', address)
  }
  t.equal(ownerOf('::ffff:192.0.2.1'), '192.0.2.1')
  t.equal(ownerOf('::1'), '0:0:0:0')
})

t.test('an invalid proxy is rejected', async t => {
  for (const text of [
    '0',
    '33',
    '10.0.0.0/33',
    '::/129',
    'proxy.example.com',
    '10.0.0.1/',
    '1/2/3',
    'a,b',
    ',',
  ])
    t.equal(trustedProxies.parse(text), undefined, text)
})
