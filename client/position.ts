// Positions: `<epoch>-<offset>`.

/** Undefined for texts that are not positions, such as `latest`. */
function parse(text: string): readonly [epoch: string, offset: number] | undefined {
  const [, epoch, offset] = /^([a-z0-9]{1,16})-(\d+)$/.exec(text) ?? []
  return epoch === undefined ? undefined : [epoch, Number(offset)]
}

export const isPosition = (text: string): boolean => parse(text) !== undefined

/** Whether a reader at `cursor` has received the event at `id`: only positions of one epoch have an order. */
export function reaches(cursor: string, id: string): boolean {
  const [one, other] = [parse(cursor), parse(id)]
  return one !== undefined && other !== undefined && one[0] === other[0] && one[1] >= other[1]
}
