// What the log of lives can tell, and how it is named.

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

/** Words that stand for several. */
export const LIFE_WORDS = ['*', 'channel.*', 'presence.*', 'client.*', ...LIFE_KINDS] as const

export type LifeWord = (typeof LIFE_WORDS)[number]

/** Whether one of the words stands for the kind. */
export function tells(words: readonly LifeWord[], kind: string): boolean {
  return words.some(word => word === '*' || word === kind || word === `${kind.split('.')[0]}.*`)
}
