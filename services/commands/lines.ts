// Shared by `fanwire publish` and `fanwire import`: turns lines of stdin into events.

import { createInterface } from 'node:readline'
import { FanwireError } from '../../client/errors.ts'
import { createPublisher, type Entry, type Publisher } from '../../client/publisher.ts'
import { Failed, remark } from './command.ts'
import { failedBy, type Remote, writeLine } from './remote.ts'

/** The lines of stdin that are not blank, with their numbers. */
export async function* linesOfStdin(): AsyncGenerator<readonly [line: string, number: number]> {
  let number = 0
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    number++
    if (line.trim() !== '') yield [line, number]
  }
}

/** Raises Failed. */
export async function withPublisher<T>(
  { url, token }: Remote,
  run: (publisher: Publisher) => Promise<T>,
): Promise<T> {
  const publisher = createPublisher(url, { ...(token !== undefined && { key: token }) })
  try {
    return await run(publisher)
  } catch (error) {
    if (error instanceof FanwireError) throw failedBy(error, token)
    throw error
  } finally {
    publisher.close()
  }
}

/** Holds no more events in memory than a few requests carry. `done`: the participle for the closing message. */
export async function publishAll(
  publisher: Publisher,
  entries: AsyncIterable<Entry>,
  { json }: Remote,
  done: string,
): Promise<number> {
  let count = 0
  try {
    for await (const receipt of publisher.all(entries)) {
      count++
      if (json) await writeLine(JSON.stringify(receipt))
    }
  } catch (error) {
    // A line is invalid: publishes those before it.
    if (error instanceof Failed) await publisher.flush()
    throw error
  }
  if (!json) remark(`${count} event${count === 1 ? '' : 's'} ${done}`)
  return 0
}
