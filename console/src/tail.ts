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

interface Options {
  readonly channel: string
  readonly cursor: string
  readonly most: number
  /** Further query parameters, such as `&speed=2&until=head`. */
  readonly also?: string
  /** Whether it reconnects until it is stopped; otherwise it reads once. */
  readonly reconnects: boolean
  readonly on: boolean
}

export function useTail({ channel, cursor, most, also = '', reconnects, on }: Options): Tail {
  const [tail, setTail] = useState<Tail>({ rows: [], total: 0, state: '' })
  const rows = useRef<Row[]>([])
  useEffect(() => {
    if (!on || channel === '') return
    const abort = new AbortController()
    let total = 0
    let at = cursor
    let state = 'connecting'
    rows.current = []
    const drawing = paced(() => setTail({ rows: rows.current.slice(-most), total, state }))
    const add = (row: Row) => {
      total++
      if (rows.current.push(row) > 2 * most) rows.current = rows.current.slice(-most)
    }
    const take = (line: string) => {
      if (line === '') return
      const object = JSON.parse(line)
      if (object.open !== undefined) at = object.open.cursor
      else if (object.gap !== undefined) {
        add(object)
        at = object.gap.to
      } else if (object.close !== undefined || object.end !== undefined) state = 'ended'
      else {
        add({ event: object })
        if (object.id !== undefined) at = object.id
      }
      drawing.soon()
    }
    const follow = async () => {
      const query = `channel=${encodeURIComponent(channel)}&cursor=${encodeURIComponent(at)}${also}`
      const response = await send(`/v1/stream?${query}`, { signal: abort.signal })
      state = 'live'
      drawing.soon()
      for await (const line of lines(response)) take(line)
    }
    const ended = (error: unknown) => {
      if (error !== undefined) state = wordsOf(error)
      else if (state !== 'ended') state = 'reconnecting'
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
