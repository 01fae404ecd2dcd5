// Definition of an attack. Its file describes it and implements it; attacker.ts is the process that runs it.

export interface Attack {
  readonly name: string
  /** Begins with the number of the fault that it shows, if there is one. */
  readonly title: string
  /** Its rate and its limits, in words. */
  readonly rate: string
  /** Part of the tests. */
  readonly critical?: true
  readonly needs?: Needs
  /** New connections must still be able to poll the good clients' channel during the attack. */
  readonly visitors?: 'served'
  /** Prepares what the attack needs, before the measurement. */
  prepare?(target: Target): Promise<void>
  /** Attacks until `signal`, then returns a summary within a second or two; its sockets end with its process. */
  attack(target: Target, signal: AbortSignal): Promise<Done>
}

/** Requirements of the node. */
export interface Needs {
  /** Settings in addition to those of world.ts. */
  readonly env?: Readonly<Record<string, string>>
  /** Its log is in a Redis, started with these further arguments. */
  readonly redis?: readonly string[]
  /** Limit of V8's old space, MB. */
  readonly heap?: number
  /** It speaks TLS on its port. The good clients do too. */
  readonly tls?: true
  /** It has a port for cleartext HTTP/2. */
  readonly h2c?: true
  /** The attack, but not the good clients, goes through a load balancer with the files of infra/. */
  readonly balancer?: 'nginx' | 'haproxy'
}

/** Where to attack, on 127.0.0.1. */
export interface Target {
  /** Of the node, or of the load balancer before it. */
  readonly port: number
  readonly h2cPort: number
  /** The channel of the good clients. */
  readonly channel: string
}

export interface Done {
  /** Counts of the attacker's actions. */
  readonly did: Readonly<Record<string, number>>
  /** Responses that the node must not send, as text. */
  readonly wrong?: readonly string[]
}
