// The version of this fanwire.

import { readFileSync } from 'node:fs'

/** From package.json, which is above both services/ and dist/services/. */
export const VERSION: string = (() => {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
      if (name === 'fanwire' && typeof version === 'string') return version
    } catch {
      // Not here.
    }
  }
  return '0.0.0'
})()
