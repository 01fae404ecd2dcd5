// Parses JSON from clients.

import { isUtf8 } from 'node:buffer'
import { FanwireError } from '../../errors.ts'

/** Whether a value is a JSON object, rather than an array or null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The value of a JSON text. `what`, such as `the body`, begins the error message. Raises FW_BAD_ENCODING for bytes,
 * FW_BAD_JSON.
 */
export function parseJson(json: Buffer | string, what: string): unknown {
  if (typeof json !== 'string' && !isUtf8(json)) {
    throw new FanwireError('FW_BAD_ENCODING', `${what} is not valid UTF-8`)
  }
  try {
    return JSON.parse(json.toString())
  } catch (cause) {
    throw new FanwireError('FW_BAD_JSON', `${what} is not valid JSON`, { cause })
  }
}
