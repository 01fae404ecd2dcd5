// Clients that are programs: each follows its targets and prints its messages, one line of JSON each.

import { Process } from '../../infra/local/process.ts'

/** What a client follows. */
export interface Target {
  /** `http://127.0.0.1:<port>`, without a slash at the end. */
  readonly url: string
  readonly channel: string
  /** Where it begins; left out: at the default of its wire. */
  readonly cursor?: string
}

/** A message as the client's library hands it out. */
export interface Message {
  /** `message` where it has none. */
  readonly type: string
  readonly data: string
}

/** Takes a message of one of the targets, by its index. */
export type Hear = (target: number, message: Message) => void

export interface Running {
  /** What it wrote beside its messages. */
  readonly notes: readonly string[]
  stop(): Promise<unknown>
}

export interface Program {
  readonly command: string
  /** Arguments before the targets. */
  readonly args: readonly string[]
}

/** Starts a client that follows all targets at once. */
export async function startProgram(
  { command, args }: Program,
  targets: readonly Target[],
  hear: Hear,
): Promise<Running> {
  const notes: string[] = []
  const program = await Process.start({
    command,
    args: [...args, JSON.stringify(targets)],
    env: { PATH: process.env.PATH },
    ready: async () => true,
    onLine(line) {
      if (!line.startsWith('{"target":')) return void notes.push(line)
      const { target, type, data } = JSON.parse(line)
      hear(target, { type, data })
    },
  })
  return { notes, stop: () => program.stop('SIGKILL') }
}
