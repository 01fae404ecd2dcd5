// Groups of Redis servers for tests: a master with replicas and sentinels, or a cluster.

import { Redis } from 'ioredis'
import { freePort } from '../../infra/local/ports.ts'
import { type RedisServer, type RedisServerOptions, startRedis } from './redis-server.ts'
import { until } from './until.ts'

export interface Group {
  /** The URL for a log. */
  readonly url: string
  readonly servers: readonly RedisServer[]
  stop(): Promise<void>
}

export interface SentinelGroup extends Group {
  readonly sentinels: readonly RedisServer[]
  /** The server that the sentinels call the master. */
  master(): Promise<RedisServer>
  /** The sentinels' name for the master. */
  readonly name: string
  raw(server: RedisServer): Redis
  /** Opens a client of a sentinel. */
  watch(sentinel: RedisServer): Redis
  /** The replica, once it is connected to the master and known to the sentinels. */
  replica(): Promise<RedisServer>
}

export interface ClusterGroup extends Group {
  raw(server: RedisServer): Redis
  /** The server that reports itself as the owner of a slot; undefined while there is none. */
  owner(slot: number): Promise<RedisServer | undefined>
  /** The master of a slot, and its replica, which is connected to it. */
  pair(slot: number): Promise<{ master: RedisServer; replica: RedisServer }>
  /** An orderly failover: makes the replica of a slot's master the master. */
  failover(slot: number): Promise<void>
  id(server: RedisServer): Promise<string>
  /** Waits until all running servers agree that every slot is served. */
  settled(): Promise<void>
  /** Moves a slot with all its keys, like redis-cli. `during` is called when none, half and all have moved. */
  move(
    slot: number,
    to: RedisServer,
    during: (there: 'none' | 'half' | 'all') => Promise<void>,
  ): Promise<void>
}

const MASTER = 'fanwire-test'

/** How long a server may be silent before the others replace it, ms: longer than a busy machine delays it. */
export const NODE_TIMEOUT_MS = 5000
const DOWN_AFTER_MS = 3000

/** Clients that control the servers. */
function clients(password = '', tls = false) {
  const known = new Map<RedisServer, Redis>()
  return {
    raw(server: RedisServer): Redis {
      let raw = known.get(server)
      if (raw === undefined) {
        raw = new Redis(server.port, {
          ...(password === '' ? {} : { password }),
          ...(tls ? { tls: { rejectUnauthorized: false } } : {}),
          retryStrategy: () => 50,
          maxRetriesPerRequest: 0,
          commandTimeout: 5000,
        })
        raw.on('error', () => {})
        known.set(server, raw)
      }
      return raw
    },
    end() {
      for (const raw of known.values()) raw.disconnect()
    },
  }
}

/** Starts all servers. If one does not start, stops the others and raises. */
async function startAll(each: readonly RedisServerOptions[]): Promise<RedisServer[]> {
  const started = await Promise.allSettled(each.map(options => startRedis(options)))
  const servers = started.flatMap(one => (one.status === 'fulfilled' ? [one.value] : []))
  const failed = started.find(one => one.status === 'rejected')
  if (failed === undefined) return servers
  await Promise.all(servers.map(server => server.stop()))
  throw failed.reason
}

/** One master, one replica, and sentinels. */
export async function startSentinel(
  count: number,
  password: string,
  { tls, sentinelPassword = '' }: Pick<RedisServerOptions, 'tls'> & { sentinelPassword?: string } = {},
): Promise<SentinelGroup> {
  const secure = tls === undefined ? {} : { tls }
  const { raw, end } = clients(password, tls !== undefined)
  const watch = clients(sentinelPassword, tls !== undefined)
  const auth = ['--requirepass', password, '--masterauth', password]
  const usual = ['--repl-diskless-sync-delay', '0', '--repl-timeout', '5', ...auth]
  const servers = await startAll([{ ...secure, args: usual }])
  const sentinels: RedisServer[] = []
  const stop = async () => {
    end()
    watch.end()
    await Promise.all([...sentinels, ...servers].map(server => server.stop()))
  }
  const ask = async (sentinel: RedisServer, command: string) =>
    (await watch.raw(sentinel).call('SENTINEL', command, MASTER)) as string[] & string[][]
  const master = async () => {
    const [, port] = await ask(sentinels[0] as RedisServer, 'get-master-addr-by-name')
    return servers.find(server => server.port === Number(port)) as RedisServer
  }
  const settled = async (sentinel: RedisServer) => {
    const field = (list: string[], name: string) => list[list.indexOf(name) + 1]
    const info = await ask(sentinel, 'master')
    const [replica = []] = await ask(sentinel, 'replicas')
    return (
      field(info, 'flags') === 'master' &&
      Number(field(info, 'num-other-sentinels')) === count - 1 &&
      field(replica, 'flags') === 'slave' &&
      field(replica, 'master-link-status') === 'ok' &&
      field(replica, 'master-port') === field(info, 'port')
    )
  }
  const group: SentinelGroup = {
    url: '',
    servers,
    sentinels,
    raw,
    watch: watch.raw,
    name: MASTER,
    master,
    async replica() {
      await until('sentinels agree', async () => (await Promise.all(sentinels.map(settled))).every(Boolean))
      const present = await master()
      return servers.find(server => server !== present) as RedisServer
    },
    stop,
  }
  try {
    const [first] = servers
    if (first === undefined) throw new Error('no server')
    servers.push(await startRedis({ ...secure, args: [...usual, '--replicaof', `127.0.0.1 ${first.port}`] }))
    const config = [
      `sentinel monitor ${MASTER} 127.0.0.1 ${first.port} ${Math.ceil(count / 2)}`,
      `sentinel down-after-milliseconds ${MASTER} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${MASTER} 1500`,
      `sentinel auth-pass ${MASTER} "${password}"`,
      ...(sentinelPassword === ''
        ? []
        : [`requirepass "${sentinelPassword}"`, `sentinel sentinel-pass "${sentinelPassword}"`]),
    ].join('\n')
    sentinels.push(
      ...(await startAll(Array.from({ length: count }, () => ({ ...secure, sentinel: config })))),
    )
    // By default, sentinels refresh every ten seconds, and publish every two.
    const quick = ['info-period', 200, 'publish-period', 250, 'ask-period', 250, 'ping-period', 250]
    await Promise.all(sentinels.map(each => watch.raw(each).call('SENTINEL', 'DEBUG', ...quick)))
    await group.replica()
  } catch (error) {
    await stop()
    throw error
  }
  const hosts = sentinels.map(each => `127.0.0.1:${each.port}`)
  return {
    ...group,
    url: `redis${tls ? 's' : ''}+sentinel://:${encodeURIComponent(password)}@${hosts}/${MASTER}`,
  }
}

/** Masters that share the slots, each with replicas. `servers`: the masters, then the replicas in the same order. */
export async function startCluster(
  masters: number,
  replicas = 0,
  more: RedisServerOptions = {},
): Promise<ClusterGroup> {
  const { raw, end } = clients('', more.tls !== undefined)
  const buses = await Promise.all(Array.from({ length: masters * (1 + replicas) }, freePort))
  const servers = await startAll(
    buses.map(bus => ({
      ...more,
      args: [
        ...['--cluster-enabled', 'yes', '--cluster-port', `${bus}`],
        ...['--cluster-node-timeout', `${NODE_TIMEOUT_MS}`],
        ...['--repl-diskless-sync-delay', '0', '--cluster-replica-validity-factor', '0'],
        ...(more.args ?? []),
      ],
    })),
  )
  const stop = async () => {
    end()
    await Promise.all(servers.map(server => server.stop()))
  }
  const cluster = (server: RedisServer, ...args: (string | number)[]) => raw(server).call('CLUSTER', ...args)
  const id = async (server: RedisServer) => `${await cluster(server, 'MYID')}`
  const field = async (server: RedisServer, name: string) =>
    new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(`${await cluster(server, 'INFO')}`)?.[1]
  const running: Group['servers'] = servers
  const settled = () =>
    until('the servers agree on the slots', async () => {
      const views = await Promise.allSettled(running.map(server => cluster(server, 'SLOTS')))
      const states = await Promise.allSettled(running.map(server => field(server, 'cluster_state')))
      if (states.some(each => each.status === 'fulfilled' && each.value !== 'ok')) return false
      const owners = views.flatMap(each => {
        if (each.status === 'rejected') return []
        const ranges = each.value as [number, number, [string, number]][]
        return [JSON.stringify(ranges.map(([from, to, [, port]]) => [from, to, port]).sort())]
      })
      return new Set(owners).size === 1
    })
  try {
    const [first] = servers
    if (first === undefined) throw new Error('no server')
    await Promise.all(
      servers.map(async (server, i) => {
        await cluster(server, 'SET-CONFIG-EPOCH', i + 1)
        if (i >= masters) return
        const [from, to] = [i, i + 1].map(each => Math.floor((each * 16_384) / masters)) as [number, number]
        await cluster(server, 'ADDSLOTSRANGE', from, to - 1)
      }),
    )
    await Promise.all(
      servers.slice(1).map(server => cluster(server, 'MEET', '127.0.0.1', first.port, buses[0] as number)),
    )
    const known = async (server: RedisServer) =>
      Number(await field(server, 'cluster_known_nodes')) === servers.length
    await until('all nodes are met', async () => (await Promise.all(servers.map(known))).every(Boolean))
    for (const [i, server] of servers.slice(masters).entries()) {
      const master = await id(servers[Math.floor(i / replicas)] as RedisServer)
      await until('it knows its master', async () => (await cluster(server, 'REPLICATE', master)) === 'OK')
      await until('the replica is connected', async () =>
        (await raw(server).info('replication')).includes('master_link_status:up'),
      )
    }
    await settled()
  } catch (error) {
    await stop()
    throw error
  }
  const owner = async (slot: number) => {
    for (const server of servers) {
      const nodes = `${await cluster(server, 'NODES').catch(() => '')}`
      const own = nodes.split('\n').find(line => line.includes('myself,master')) ?? ''
      const ranges = own
        .split(' ')
        .slice(8)
        .filter(range => !range.startsWith('['))
      const serves = ranges.some(range => {
        const [from = '', to = from] = range.split('-')
        return Number(from) <= slot && slot <= Number(to)
      })
      if (serves) return server
    }
    return undefined
  }
  const pair: ClusterGroup['pair'] = async slot => {
    let found: Awaited<ReturnType<ClusterGroup['pair']>> | undefined
    await until('the replica is connected', async () => {
      const master = await owner(slot)
      if (master === undefined) return false
      const link = `master_host:127.0.0.1\r\nmaster_port:${master.port}\r\nmaster_link_status:up`
      for (const replica of servers) {
        const info = await raw(replica)
          .info('replication')
          .catch(() => '')
        if (info.includes(link)) found = { master, replica }
      }
      return found !== undefined
    })
    return found as NonNullable<typeof found>
  }
  return {
    url: `redis${more.tls ? 's' : ''}+cluster://${more.acl ? 'fanwire:password@' : ''}${servers.slice(0, 2).map(each => `127.0.0.1:${each.port}`)}`,
    servers,
    raw,
    owner,
    pair,
    async failover(slot) {
      const { replica } = await pair(slot)
      await until('the replica is the master', async () => {
        if ((await owner(slot)) === replica) return true
        // A server that has just become a master may ignore the command.
        await cluster(replica, 'FAILOVER')
        for (let i = 0; i < 20 && (await owner(slot)) !== replica; i++)
          await new Promise(resolve => setTimeout(resolve, 25))
        return (await owner(slot)) === replica
      })
    },
    id,
    settled,
    async move(slot, to, during) {
      const from = await owner(slot)
      if (from === undefined) throw new Error(`no master serves slot ${slot}`)
      await cluster(to, 'SETSLOT', slot, 'IMPORTING', await id(from))
      await cluster(from, 'SETSLOT', slot, 'MIGRATING', await id(to))
      await during('none')
      let half = Math.ceil(Number(await cluster(from, 'COUNTKEYSINSLOT', slot)) / 2)
      for (;;) {
        const keys = (await cluster(from, 'GETKEYSINSLOT', slot, 1)) as string[]
        if (keys.length === 0) break
        await raw(from).call('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...keys)
        if (--half === 0) await during('half')
      }
      await during('all')
      const taker = await id(to)
      await cluster(to, 'SETSLOT', slot, 'NODE', taker)
      await cluster(from, 'SETSLOT', slot, 'NODE', taker)
    },
    stop,
  }
}
