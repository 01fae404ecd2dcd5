// `fanwire channels` and `fanwire presence`: lists channels, and members.

import { type Command, print, remark } from './command.ts'
import { askNode, oneChannel, pathOf, type Remote, REMOTE_HELP, remoteArgs, writeLine } from './remote.ts'

interface ChannelState {
  readonly channel: string
  readonly head: string
  /** Null if the channel holds no events. */
  readonly tail: string | null
  readonly count: number
  readonly readers: number
}

export const channels: Command = {
  help: `fanwire channels [CHANNEL…] [--match PATTERN]: prints the state of channels; without names, of those that nodes follow

Without names, it needs the right admin.
${REMOTE_HELP}`,

  async run(args) {
    const { values, positionals, remote } = remoteArgs(args, { match: { type: 'string' } })
    if (positionals.length === 0) {
      await printFollowed(remote, values.match === undefined ? {} : { match: values.match })
      return 0
    }
    for (const name of positionals) {
      const state = await askNode<ChannelState>(remote, pathOf(name))
      const { channel, head, tail, count, readers } = state
      const span = tail === null ? head : `${tail} to ${head}`
      const line = `${channel}  ${count} events  ${span}  ${readers} readers on this node`
      print(remote.json ? JSON.stringify(state) : line)
    }
    return 0
  },
}

interface Followed {
  readonly channels: readonly (Record<string, unknown> & { readonly channel: string })[]
  /** Nodes that did not answer. */
  readonly silent?: readonly string[]
  readonly next?: string
}

async function printFollowed(remote: Remote, select: { readonly match?: string }): Promise<void> {
  const query = new URLSearchParams({ ...select, limit: '1000' })
  const silent = new Set<string>()
  for (let next: string | undefined = ''; next !== undefined;) {
    if (next !== '') query.set('after', next)
    const page: Followed = await askNode<Followed>(remote, `/v1/admin/channels?${query}`)
    for (const each of page.channels) {
      const { channel, ...rest } = each
      const about = Object.entries(rest).map(([name, value]) => `${name} ${JSON.stringify(value)}`)
      await writeLine(remote.json ? JSON.stringify(each) : `${channel}  ${about.join('  ')}`)
    }
    for (const node of page.silent ?? []) silent.add(node)
    ;({ next } = page)
  }
  for (const node of silent) remark(`node ${node} did not answer: its channels may be missing`)
}

interface Members {
  readonly users: number
  readonly clients: number
  readonly members: readonly { readonly user: string; readonly info?: unknown; readonly since: number }[]
  readonly more?: true
  readonly next?: string
}

export const presence: Command = {
  help: `fanwire presence CHANNEL: lists the members of a channel whose rule has presence

${REMOTE_HELP}`,

  async run(args) {
    const { positionals, remote } = remoteArgs(args, {})
    const path = `${pathOf(oneChannel(positionals))}/presence?limit=1000`
    let page = await askNode<Members>(remote, path)
    if (!remote.json) print(`${page.users} users, ${page.clients} clients`)
    for (;;) {
      for (const member of page.members) {
        const { user, info, since } = member
        const line = `${user}  since ${new Date(since).toISOString()}${info === undefined ? '' : `  ${JSON.stringify(info)}`}`
        await writeLine(remote.json ? JSON.stringify(member) : line)
      }
      if (!page.more || page.next === undefined) return 0
      page = await askNode<Members>(remote, `${path}&after=${encodeURIComponent(page.next)}`)
    }
  },
}
