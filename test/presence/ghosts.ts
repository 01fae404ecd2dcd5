// Kills, freezes, cuts off and restarts nodes and Redis. After each fault the members must be exactly the connected
// users, and no user may have left without cause.

import { setTimeout as sleep } from 'node:timers/promises'
import { rm } from 'node:fs/promises'
import { proxyRedis } from '../support/redis-proxy.ts'
import { startSentinel } from '../support/redis-groups.ts'
import { aofDir, startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { disorderly, Rooms } from './members.ts'

export interface Row {
  readonly fault: string
  readonly members: number
  readonly joins: number
  readonly leaves: number
  /** Leaves that are correct: of users of a dead node, and of users who were away for longer than the grace period. */
  readonly due: number
  /** Joins of members, and leaves of non-members. */
  readonly disorderly: number
  readonly seconds: number
  readonly wrong: string
}

/** Maximum time until the members are the connected users again, ms. */
const SETTLED_WITHIN = 90_000
/** How long a node is frozen, ms. */
const FROZEN = 30_000
/** How long a node is cut off from Redis, ms. */
const CUT = 10_000

/** A user who is away for longer than this may leave, ms. It is a bit less than the grace period. */
const LEAVES_AFTER = 4500

/** `due`: exactly the users who must leave. `fresh`: the fault may lose the log of joins and leaves. */
type Case = readonly [fault: string, due: readonly string[], run: () => Promise<void>, fresh?: true]

const NOBODY: readonly string[] = []
const users = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}${i}`)

/** `count`: members of the killed edge. Each other edge has a fifth of that. */
export async function ghosts(count: number, say: (text: string) => void): Promise<Row[]> {
  const redis = await startRedis({ args: ['--appendonly', 'yes'] })
  const proxy = await proxyRedis(redis.port)
  const rooms = new Rooms({ REDIS_URL: redis.url })
  const few = Math.ceil(count / 5)
  try {
    const [killed, frozen] = [await rooms.start(), await rooms.start()]
    const cutOff = await rooms.start({ REDIS_URL: proxy.url })
    await rooms.many(killed, 'a', count)
    await rooms.many(frozen, 'b', few)
    await rooms.many(cutOff, 'c', few)
    await rooms.many(await rooms.start(), 'd', few)
    const restartRedis = async (change: () => Promise<void>) => {
      await redis.kill()
      await change()
      await sleep(2000)
      await redis.restart()
    }
    return await all(rooms, say, [
      [
        `\`kill -9\` of an edge with ${count.toLocaleString('en')} members`,
        users('a', count),
        async () => {
          rooms.without(killed)
          await killed.kill()
        },
      ],
      [
        'SIGSTOP of an edge for 30 s, and back',
        users('b', few),
        async () => {
          frozen.signal('SIGSTOP')
          await sleep(FROZEN)
          frozen.signal('SIGCONT')
        },
      ],
      [
        'an edge is cut off from Redis for 10 s, and back',
        NOBODY,
        async () => {
          proxy.mode = 'frozen'
          await sleep(CUT)
          proxy.mode = 'pass'
        },
      ],
      ['rolling restart of all edges', NOBODY, () => rolling(rooms)],
      ['Redis: `kill -9`, restart with its AOF', NOBODY, () => restartRedis(async () => {})],
      [
        'Redis: `kill -9`, restart without its AOF',
        NOBODY,
        () => restartRedis(() => rm(aofDir(redis), { recursive: true })),
        true,
      ],
    ])
  } finally {
    await rooms.close()
    await proxy.close()
    await redis.stop()
  }
}

/** Checks the same over a failover by sentinels. */
export async function failover(count: number, say: (text: string) => void): Promise<Row[]> {
  const group = await startSentinel(3, 'presence')
  const rooms = new Rooms({ REDIS_URL: group.url })
  try {
    const few = Math.ceil(count / 5)
    for (const name of ['a', 'b']) await rooms.many(await rooms.start(), name, few)
    const run = async () => {
      const [master, replica] = [await group.master(), await group.replica()]
      await master.kill()
      await until('the replica is the master', async () => (await group.master()) === replica)
      await master.restart()
    }
    return await all(rooms, say, [['Sentinel: the master dies, its replica takes over', NOBODY, run, true]])
  } finally {
    await rooms.close()
    await group.stop()
  }
}

/** Replaces each node: starts a new one, then stops the old one, whose clients connect to other nodes. */
async function rolling(rooms: Rooms): Promise<void> {
  rooms.comeBack = true
  for (const node of [...rooms.nodes]) {
    await rooms.start()
    rooms.without(node)
    await node.stop()
  }
  const everybody = rooms.sockets.size
  await until('all users are connected again', () => rooms.sockets.size >= everybody)
}

async function all(rooms: Rooms, say: (text: string) => void, cases: readonly Case[]): Promise<Row[]> {
  const rows: Row[] = []
  await settled(rooms)
  for (const [fault, due, run, fresh] of cases) {
    const began = performance.now()
    const { users: before, cursor } = await rooms.members()
    rooms.absences.clear()
    await run()
    const unsettled = await settled(rooms).then(
      () => [],
      (error: Error) => [error.message],
    )
    // Waits for late joins and leaves.
    await sleep(7000)
    const changes = await rooms.log(cursor)
    const usersWho = (type: string) => changes.filter(each => each.type === type).map(({ data }) => data.user)
    const [joined, left] = [usersWho('join'), usersWho('leave')]
    const mayLeave = (user: string) => due.includes(user) || (rooms.absences.get(user) ?? 0) > LEAVES_AFTER
    const row = {
      fault,
      members: (await rooms.members()).users.length,
      joins: joined.length,
      leaves: left.length,
      due: new Set([...due, ...left.filter(mayLeave)]).size,
      // A log that was lost begins without members.
      disorderly: disorderly(changes, new Set(fresh && joined.length > 0 ? [] : before)),
      seconds: Math.round((performance.now() - began) / 1000),
      wrong: [
        ...unsettled,
        ...listed(
          'left without cause',
          left.filter(user => !mayLeave(user)),
        ),
        ...listed(
          'did not leave',
          due.filter(user => !left.includes(user)),
        ),
      ].join('; '),
    }
    say(JSON.stringify(row))
    rows.push(row)
  }
  return rows
}

const listed = (what: string, of: readonly string[]) =>
  of.length === 0 ? [] : [`${of.length} ${what}: ${of.slice(0, 3).join(' ')}`]

/** Raises unless the members become exactly the connected users. */
async function settled(rooms: Rooms): Promise<void> {
  let difference = ''
  const isSo = async () => {
    const { users } = await rooms.members()
    const wrong = [...symmetric(new Set(users), new Set(rooms.sockets.keys()))]
    difference = `${users.length} members, ${rooms.sockets.size} connected, ${wrong.slice(0, 3)}`
    return wrong.length === 0
  }
  await until('the members are the connected users', isSo, SETTLED_WITHIN).catch(() => {
    throw new Error(difference)
  })
}

function* symmetric(one: ReadonlySet<string>, other: ReadonlySet<string>): Generator<string> {
  for (const each of one) if (!other.has(each)) yield each
  for (const each of other) if (!one.has(each)) yield each
}
