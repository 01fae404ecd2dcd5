// Reads events from segments. Neighbouring records are read in one piece.

import { eventAt, recordAt, type Stored } from './records.ts'
import type { Part } from './channel.ts'
import type { Segment } from './segment.ts'

/** The maximum bytes between two records of a piece, and of a whole piece, unless a single record is larger. */
const NEAR_BYTES = 16 * 1024
const PIECE_BYTES = 2 ** 20

/** Records of one segment that are read in one piece. */
interface Piece {
  readonly segment: Segment
  readonly from: number
  to: number
  readonly at: number[]
}

/** Reads the events, in order. Raises LogUnavailable if one is damaged. */
export async function readParts(parts: readonly Part[]): Promise<Stored[]> {
  return (await Promise.all(piecesOf(parts).map(readPiece))).flat()
}

/** Yields the events with their stored records. Other work can run between the pieces. */
export async function* readPieces(
  parts: readonly Part[],
): AsyncGenerator<{ readonly record: Buffer; readonly event: Stored }> {
  for (const { segment, from, to, at } of piecesOf(parts)) {
    segment.hold()
    try {
      const bytes = await segment.bytes(from, to - from)
      for (const each of at) {
        const event = eventAt(bytes, each - from)
        if (event === undefined) throw segment.damaged(each)
        yield { record: recordAt(bytes, each - from), event }
      }
    } finally {
      segment.release()
    }
  }
}

function piecesOf(parts: readonly Part[]): Piece[] {
  const pieces: Piece[] = []
  for (const { segment, table, from, to } of parts) {
    let piece: Piece | undefined
    for (let i = from; i < to; i++) {
      const at = table.at[i] ?? 0
      const end = at + (table.lengths[i] ?? 0)
      if (piece === undefined || at - piece.to > NEAR_BYTES || end - piece.from > PIECE_BYTES) {
        piece = { segment, from: at, to: end, at: [] }
        pieces.push(piece)
      }
      piece.to = end
      piece.at.push(at)
    }
  }
  return pieces
}

async function readPiece({ segment, from, to, at }: Piece): Promise<Stored[]> {
  segment.hold()
  try {
    const bytes = await segment.bytes(from, to - from)
    return at.map(at => {
      const event = eventAt(bytes, at - from)
      if (event === undefined) throw segment.damaged(at)
      return event
    })
  } finally {
    segment.release()
  }
}
