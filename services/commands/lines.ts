// Shared by `fanwire publish` and `fanwire import`: turns lines of stdin into events.

import { createInterface } from 'node:readline'
import { FanwireError } from '../../client/errors.ts'
import { createPublisher, type Entry, type Publisher } from '../../client/publisher.ts'
import { type Failed, remark } from './command.ts'
import { failedBy, notReached, type Remote, unreachable, writeLine } from './remote.ts'

/** The lines of stdin that are not blank, with their numbers. A byte order mark is left out. */
export async function* linesOfStdin(): AsyncGenerator<readonly [line: string, number: number]> {
  let number = 0
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    number++
    if (line.trim() !== '') yield [number === 1 ? line.replace(/^\ufeff/, '') : line, number]
  }
}

/**
 * Runs `run` with a publisher to the node. If the node becomes unavailable, waits for it and says so; but not if it has
 * never answered. Raises Failed.
 */
export async function withPublisher<T>(
  { url, token }: Remote,
  run: (publisher: Publisher) => Promise<T>,
): Promise<T> {
  let fail: (failure: Failed) => void
  const unanswered = new Promise<never>((_, reject) => (fail = reject))
  let answered = false
  let waits = false
  const waitFor = (why: string) => {
    if (!waits) remark(`${why}; trying again`)
    waits = true
  }
  const publisher = createPublisher(url, {
    ...(token !== undefined && { key: token }),
    async fetch(input, init) {
      try {
        const response = await fetch(input, init)
        answered = true
        if (response.status >= 500) waitFor(`${url} answers ${response.status}`)
        else waits = false
        return response
      } catch (error) {
        if (answered) waitFor(notReached(url, error))
        else fail(unreachable(url, error))
        throw error
      }
    },
  })
  try {
    return await Promise.race([run(publisher), unanswered])
  } catch (error) {
    if (error instanceof FanwireError) throw failedBy(error, token)
    throw error
  } finally {
    publisher.close()
  }
}

/** Publishes all events, and holds only a few requests' worth in memory. `done` is the participle for the final message. */
export async function publishAll(
  publisher: Publisher,
  entries: AsyncIterable<Entry>,
  { json }: Remote,
  done: string,
): Promise<number> {
  let count = 0
  for await (const receipt of publisher.all(entries)) {
    count++
    if (json) await writeLine(JSON.stringify(receipt))
  }
  if (!json) remark(`${count} event${count === 1 ? '' : 's'} ${done}`)
  return 0
}
