// Clients that are programs: each follows its targets and prints its messages, one line of JSON each.

import { Process } from '../../infra/local/process.ts'

/** What a client follows. */
export interface Target {
  /** `http://127.0.0.1:<port>`, without a slash at the end. */
  readonly url: string
  readonly channel: string
  /** Where it begins. By default, where its wire begins. */
  readonly cursor?: string
}

/** A message as the client's library delivers it. */
export interface Message {
  /** `message` for an event without a type. */
  readonly type: string
  readonly data: string
}

/** Receives a message of the target with this index. */
export type Hear = (target: number, message: Message) => void

export interface Running {
  /** Other lines that it printed. */
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
