// A reader of `/v1/push` that accepts pushes. It connects to the edges, because load balancers do not forward pushes.

import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2'
import { answerTo, destroy } from '../../contract/http2.ts'
import { Lines, ObjectReader } from './objects.ts'
import { Refused, SILENCE, textOf, untilCut } from './reader.ts'

/** The reader rejects one in this many pushes, as a client with a cached copy does, and fetches the event. */
const REFUSED = 10

export class PushReader extends ObjectReader {
  #waitsFor: string | undefined

  override get waitsFor(): string | undefined {
    return this.#waitsFor
  }

  protected override async session(): Promise<number | undefined> {
    const session = connect(`http://127.0.0.1:${this.port}`)
    session.on('error', () => {})
    session.setTimeout(SILENCE, () => destroy(session))
    const end = () => destroy(session)
    this.signal.addEventListener('abort', end, { once: true })
    try {
      return await this.#hold(session)
    } finally {
      this.signal.removeEventListener('abort', end)
      end()
    }
  }

  /** Processes lines in order. The reader advances past a pushed event once it has received it. */
  async #hold(session: ClientHttp2Session): Promise<number | undefined> {
    this.#waitsFor = undefined
    const pushes = new Map<string, Promise<string | undefined>>()
    session.on('stream', (stream, { ':path': path }) => pushes.set(`${path}`, take(stream)))
    const held = session.request({ ':path': `/v1/push?${this.query()}` })
    const { ':status': status = 0 } = await answerTo(held)
    if (status !== 200) throw new Refused(status, await textOf(held))
    let retry: number | undefined
    const read = async (line: string) => {
      const { pushed } = JSON.parse(line)
      if (pushed === undefined) {
        retry = this.object(line) ?? retry
        return
      }
      const path = `/v1/channels/${pushed.channel}/events/${pushed.id}`
      this.#waitsFor = `the push of ${path}`
      let event = await pushes.get(path)
      this.#waitsFor = `the response to GET ${path}`
      event ??= await fetched(session, path)
      this.#waitsFor = undefined
      pushes.delete(path)
      this.object(event)
    }
    let reading = Promise.resolve()
    const lines = new Lines(line => {
      reading = reading.then(() => read(line))
      // A failed push is requested again with the cursor, and so is everything after it.
      reading.catch(() => destroy(session))
    })
    await untilCut<Buffer>(held, bytes => lines.take(bytes)).catch(async error => {
      // Received events advance the reader before its next session sends the cursor.
      destroy(session)
      await reading.catch(() => {})
      throw error
    })
    await reading
    return retry
  }
}

/** The body of a push; undefined if it was rejected or cut. */
async function take(stream: ClientHttp2Stream): Promise<string | undefined> {
  stream.on('error', () => {})
  if (Math.random() < 1 / REFUSED) {
    stream.close(constants.NGHTTP2_REFUSED_STREAM)
    return undefined
  }
  const text = await textOf(stream).catch(() => undefined)
  return stream.rstCode === constants.NGHTTP2_NO_ERROR ? text : undefined
}

/** Fetches an event by its URL. */
async function fetched(session: ClientHttp2Session, path: string): Promise<string> {
  const stream = session.request({ ':path': path })
  const { ':status': status = 0 } = await answerTo(stream).catch(error => {
    if (stream.rstCode !== constants.NGHTTP2_ENHANCE_YOUR_CALM) throw error
    throw new Error(`GET ${path} was reset, although the session had room for a request`)
  })
  const text = await textOf(stream)
  // 404: the log has lost the event since. The reader then receives a gap when it continues.
  if (status !== 200) throw new Refused(status === 404 ? 503 : status, text)
  return text
}
