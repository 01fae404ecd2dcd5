// Which URLs token keys may come from.

import { urlOf } from '../../urls.ts'

/** Why the URL of a key set is invalid; undefined if it is valid. */
export function jwksUrlFault(text: string): string | undefined {
  const url = urlOf(text)
  if (url === undefined) return 'is not a URL'
  const { protocol, hostname, username, password, hash } = url
  if (username !== '' || password !== '') return 'has a user or a password in it'
  if (hash !== '') return 'has a fragment'
  if (protocol === 'https:') return undefined
  if (protocol === 'http:' && isLoopback(hostname)) return undefined
  return 'is neither https nor http on loopback'
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(?:\.\d+){3}$/.test(host)
}
