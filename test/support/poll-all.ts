// The events of a channel after a cursor, read page by page over /v1/poll.

interface PollPage<T> {
  readonly events: readonly T[]
  readonly cursor: string
  readonly more?: true
}

/** `ask` requests a path of a node, and returns the page. */
export async function pollAll<T>(
  channel: string,
  ask: (path: string) => Promise<unknown>,
  from = 'earliest',
): Promise<T[]> {
  const found: T[] = []
  for (let at = from; ;) {
    const page = (await ask(`/v1/poll?channel=${channel}&limit=1000&cursor=${at}`)) as PollPage<T>
    found.push(...page.events)
    at = page.cursor
    if (!page.more) return found
  }
}
