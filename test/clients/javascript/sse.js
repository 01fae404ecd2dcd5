// Code shared by all clients of /v1/sse.

export function urlOf({ url, channel, cursor }) {
  const query = new URLSearchParams({ channel })
  if (cursor !== undefined) query.set('cursor', cursor)
  return `${url}/v1/sse?${query}`
}

/** SSE types of the tests' events and of gaps. */
const TYPES = ['message', 'tick', 'gap']

/** Listens as every user of an EventSource does. */
export function listen(source, hear) {
  for (const type of TYPES) source.addEventListener(type, ({ data }) => hear(type, data))
}
