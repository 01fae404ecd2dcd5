// The contract of the wires over HTTP/2, in cleartext and over TLS, and of those over HTTP/1.1 with TLS.

import t from 'tap'
import { SOCKET_IO, WIRES } from '../../contract/clients.ts'
import { http2Wires, makeCertificate } from '../../contract/http2.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { wireContract } from '../../contract/wires.ts'

const { cert, key } = makeCertificate()
const tls = { TLS_CERT: cert, TLS_KEY: key }

const cleartext = http2Wires('cleartext HTTP/2')
wireContract(t, 'the memory log', settings => startMemoryNode({ ...settings, H2C_PORT: '0' }), cleartext)

const secure = [
  ...http2Wires('HTTP/2 and TLS'),
  ...[...WIRES.filter(({ name }) => name === 'sse' || name === 'ws'), SOCKET_IO].map(wire => ({
    ...wire,
    over: 'TLS',
  })),
]
wireContract(t, 'the memory log', settings => startMemoryNode({ ...settings, ...tls }), secure)
