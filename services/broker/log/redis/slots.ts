// The hash slots of Redis Cluster.

export const SLOTS = 16_384

/** The CRC-16 of each byte (XMODEM: polynomial 0x1021). */
const CRC = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
  return crc
})

/** The slot of an ASCII key or sharded pub/sub channel, by the text between its braces. */
export function slotOf(name: string): number {
  const open = name.indexOf('{')
  const close = open === -1 ? -1 : name.indexOf('}', open + 1)
  const tagged = close > open + 1
  let crc = 0
  for (let i = tagged ? open + 1 : 0; i < (tagged ? close : name.length); i++) {
    crc = ((crc << 8) & 0xffff) ^ (CRC[((crc >> 8) ^ name.charCodeAt(i)) & 0xff] as number)
  }
  return crc % SLOTS
}

/** Groups items by slot, in the given order, at most `most` in a group. */
export function bySlot<T>(items: Iterable<T>, slot: (item: T) => number, most: number): T[][] {
  const lists: T[][] = []
  const open = new Map<number, T[]>()
  for (const item of items) {
    const at = slot(item)
    let list = open.get(at)
    if (list === undefined || list.length === most) {
      list = []
      lists.push(list)
      open.set(at, list)
    }
    list.push(item)
  }
  return lists
}
