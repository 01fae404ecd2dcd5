// The kinds of events in the log of lives, and their names.

export const LIFE_KINDS = [
  'channel.occupied',
  'channel.vacated',
  'presence.joined',
  'presence.left',
  'client.connected',
  'client.disconnected',
  'client.published',
] as const

export type LifeKind = (typeof LIFE_KINDS)[number]

/** Words that cover several kinds. */
export const LIFE_WORDS = ['*', 'channel.*', 'presence.*', 'client.*', ...LIFE_KINDS] as const

export type LifeWord = (typeof LIFE_WORDS)[number]

/** Whether one of the words covers the kind. */
export function covers(words: readonly LifeWord[], kind: string): boolean {
  return words.some(word => word === '*' || word === kind || word === `${kind.split('.')[0]}.*`)
}
