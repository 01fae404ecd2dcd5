// The load balancers that can run here: installed ones, or ones that are unpacked.

import type { Test } from 'tap'
import { program } from '../../infra/local/packages.ts'
import type { Balancer } from '../../infra/local/topology.ts'

/** A kind that is not available is reported as a skipped test with its reason. */
export async function availableBalancers(t: Test): Promise<readonly Balancer[]> {
  const kinds: Balancer[] = []
  for (const kind of ['nginx', 'haproxy'] as const) {
    try {
      await program(kind)
      kinds.push(kind)
    } catch (error) {
      const [why = ''] = (error as Error).message.split('\n', 1)
      t.test(kind, { skip: why }, async () => {})
    }
  }
  return kinds
}
