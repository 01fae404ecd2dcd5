// Follows a channel over /v1/stream for a view. The page is drawn a few times a second, however many events arrive.

import { useEffect, useRef, useState } from 'preact/hooks'
import { type FanwireEvent, type Gap, lines, send, wordsOf } from './api.ts'
import { paced } from './pace.ts'
import { reconnect } from './reconnect.ts'

export type Row = { readonly event: FanwireEvent } | { readonly gap: Gap }

export interface Tail {
  /** At most `most` rows, the newest last. */
  readonly rows: readonly Row[]
  readonly total: number
  readonly state: string
}

const RECONNECT_MS = 2000
/** The close code of a read to which nothing more will come. */
const COMPLETE = 1000

interface Options {
  readonly channel: string
  readonly cursor: string
  readonly most: number
  /** Further query parameters, such as `&speed=2&until=head`. */
  readonly also?: string
  /** Whether it reconnects until it is stopped; otherwise it reads once. */
  readonly reconnects: boolean
  /** Off: it disconnects, and continues at its position when it is on again. */
  readonly on: boolean
}

/** What was read so far from a channel and a cursor. */
interface Read {
  /** Names the channel, the cursor and the further parameters. */
  readonly of: string
  at: string
  total: number
  rows: Row[]
}

export function useTail({ channel, cursor, most, also = '', reconnects, on }: Options): Tail {
  const [tail, setTail] = useState<Tail>({ rows: [], total: 0, state: '' })
  const kept = useRef<Read | undefined>(undefined)
  useEffect(() => {
    const of = JSON.stringify([channel, cursor, also])
    if (kept.current?.of !== of) kept.current = { of, at: cursor, total: 0, rows: [] }
    const read = kept.current
    if (!on || channel === '') return
    const abort = new AbortController()
    let state = 'connecting'
    /** The state after the connection, if the node has announced its end. */
    let announced: 'ended' | 'reconnecting' | undefined
    const drawing = paced(() => setTail({ rows: read.rows.slice(-most), total: read.total, state }))
    const add = (row: Row) => {
      read.total++
      if (read.rows.push(row) > 2 * most) read.rows = read.rows.slice(-most)
    }
    const take = (line: string) => {
      if (line === '') return
      const object = JSON.parse(line)
      if (object.open !== undefined) read.at = object.open.cursor
      else if (object.gap !== undefined) {
        add(object)
        read.at = object.gap.to
      } else if (object.passed !== undefined) read.at = object.passed.cursor
      else if (object.close !== undefined) {
        announced = object.close.code === COMPLETE ? 'ended' : 'reconnecting'
      } else if (object.end !== undefined) announced = 'ended'
      else {
        add({ event: object })
        if (object.id !== undefined) read.at = object.id
      }
      drawing.soon()
    }
    const follow = async () => {
      announced = undefined
      const query = `channel=${encodeURIComponent(channel)}&cursor=${encodeURIComponent(read.at)}${also}`
      const response = await send(`/v1/stream?${query}`, { signal: abort.signal })
      state = 'live'
      drawing.soon()
      for await (const line of lines(response)) take(line)
    }
    const ended = (error: unknown) => {
      state = announced ?? (error === undefined ? 'reconnecting' : wordsOf(error))
      drawing.soon()
      return reconnects && state !== 'ended'
    }
    drawing.soon()
    void reconnect(follow, { signal: abort.signal, delay: RECONNECT_MS, ended })
    return () => {
      abort.abort()
      drawing.stop()
    }
  }, [channel, cursor, also, reconnects, on])
  return tail
}
