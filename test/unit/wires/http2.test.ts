// The contract of the wires over cleartext HTTP/2, and of two of them over TLS, because TLS affects all alike.
// `npm run wires` runs all wires over both.

import t from 'tap'
import { SOCKET_IO, WIRES } from '../../contract/clients.ts'
import { http2Wires, makeCertificate } from '../../contract/http2.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { wireContract } from '../../contract/wires.ts'

const { cert, key } = makeCertificate()
const tls = { TLS_CERT: cert, TLS_KEY: key }

const cleartext = http2Wires('cleartext HTTP/2')
wireContract(t, 'the memory log', settings => startMemoryNode({ ...settings, H2C_PORT: '0' }), cleartext)

const all = [
  ...http2Wires('HTTP/2 and TLS'),
  ...[...WIRES.filter(({ name }) => name === 'sse' || name === 'ws'), SOCKET_IO].map(wire => ({
    ...wire,
    over: 'TLS',
  })),
]
const secure =
  process.env.WIRES === 'all'
    ? all
    : all.filter(({ name, over }) => (over === 'TLS' ? name === 'ws' : name === 'sse'))
wireContract(t, 'the memory log', settings => startMemoryNode({ ...settings, ...tls }), secure)
