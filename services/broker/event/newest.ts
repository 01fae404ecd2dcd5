// Maps and sets of limited size: they keep the order in which entries were added, and drop the oldest ones.

/** Removes the oldest entry of a map or set that has more than `most`. Call it after each addition. */
export function dropOldest<K>(kept: Map<K, unknown> | Set<K>, most: number): void {
  if (kept.size <= most) return
  const [oldest] = kept.keys()
  kept.delete(oldest as K)
}
