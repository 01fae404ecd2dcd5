// One request of each kind before the load, so that problems are reported at once, with what to do about them.

import { request } from 'node:http'
import { request as requestTls } from 'node:https'
import { addressOf } from '../load/address.ts'
import { payload } from '../load/marker.ts'
import type { Target } from '../load/order.ts'

/** The test cannot run; the message says what to do. */
export class CannotRun extends Error {}

/** Maximum ms until a response. */
const WITHIN = 10_000

interface Answer {
  readonly status: number
  readonly body: string
}

/** Raises CannotRun if a reader does not get a response of fanwire. */
export async function tryReading(target: Target, channel: string): Promise<void> {
  const { status, body } = await ask(target, 'GET', `/v1/poll?channel=${channel}&cursor=latest`, {})
  if (status === 200 && body.includes('"cursor":"')) return
  throw new CannotRun(`${target.url}: ${readingRefused(status, body)}`)
}

/** Raises CannotRun if an event cannot be published. */
export async function tryPublishing(
  target: Target,
  key: string | undefined,
  channel: string,
  size: number,
): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
  }
  const data = payload(0, 0, size)
  const { status, body } = await ask(target, 'POST', `/v1/channels/${channel}/events`, headers, data)
  if (status !== 201)
    throw new CannotRun(`publishing to ${target.url}: ${publishingRefused(status, body, key)}`)
}

function readingRefused(status: number, body: string): string {
  if (status === 401 || status === 403) {
    return `HTTP ${status}: readers are rejected; give credentials with --header or --token`
  }
  if (status === 404) {
    return 'HTTP 404 for /v1/poll: there is no fanwire, or it accepts no readers (ROLE=writer); check --url and its path'
  }
  if (status === 503) return `HTTP 503: no node is ready${said(body)}; check /readyz and the log of the nodes`
  if (status === 200) return 'the response to /v1/poll is not from fanwire; check --url and its path'
  return `HTTP ${status}${said(body)}`
}

function publishingRefused(status: number, body: string, key: string | undefined): string {
  if (status === 401) {
    return key === undefined
      ? 'HTTP 401: it needs a key; set FANWIRE_PUBLISH_KEY or give --publish-key'
      : 'HTTP 401: the publish key is not one of its keys'
  }
  if (status === 404) {
    return 'HTTP 404: it accepts no events there (ROLE=edge?); give the address of the writers with --publish-url'
  }
  if (status === 413) return `HTTP 413: --size exceeds its limit${said(body)}`
  if (status === 503) return `HTTP 503${said(body)}; check /readyz and the log of the nodes`
  return `HTTP ${status}${said(body)}`
}

function said(body: string): string {
  const message = /"message":"((?:[^"\\]|\\.)*)"/.exec(body)?.[1]
  return message === undefined ? '' : ` (${message})`
}

async function ask(
  target: Target,
  method: 'GET' | 'POST',
  path: string,
  more: Readonly<Record<string, string>>,
  body = '',
): Promise<Answer> {
  const { host, port, tls, authority, prefix, headers } = addressOf(target)
  try {
    return await new Promise((resolve, reject) => {
      const asked = (tls === undefined ? request : requestTls)(
        {
          ...tls,
          host,
          port,
          method,
          path: prefix + path,
          agent: false,
          timeout: WITHIN,
          headers: { ...headers, ...more, host: authority, 'content-length': Buffer.byteLength(body) },
        },
        response => {
          let text = ''
          response.setEncoding('utf8').on('data', (piece: string) => {
            text += piece
          })
          response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
          response.on('error', reject)
        },
      )
      asked.on('timeout', () => asked.destroy(new Error(`no answer within ${WITHIN / 1000} s`)))
      asked.on('error', reject)
      asked.end(body)
    })
  } catch (error) {
    throw new CannotRun(`${target.url}: ${explain(error as NodeJS.ErrnoException)}`)
  }
}

function explain(error: NodeJS.ErrnoException): string {
  const code = error.code ?? ''
  if (code === 'ECONNREFUSED')
    return 'connection refused: nothing listens there; check that it runs, and the port'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'the host name is unknown; check --url'
  if (code === 'ECONNRESET' || code === 'EPROTO' || code.startsWith('HPE_')) {
    return `${code}: it may speak TLS, or not; check whether --url begins with http or https`
  }
  if (/CERT|SELF_SIGNED|ERR_TLS|UNABLE_TO/.test(code)) {
    return `${error.message}: with --insecure any certificate is accepted`
  }
  return error.message
}
