// Defines an attack. The attack's own file describes and implements it; attacker.ts is the process that runs it.

export interface Attack {
  readonly name: string
  /** Begins with the number of the fault that the attack demonstrates, if any. */
  readonly title: string
  /** Rate and limits of the attack, as text. */
  readonly rate: string
  /** One client could disable a node with it. test/cluster/abuse.test.ts runs W1, S1 and S2 of these. */
  readonly critical?: true
  readonly needs?: Needs
  /** New clients must be able to poll the good clients' channel during the attack. */
  readonly visitors?: 'served'
  /** Prepares what the attack needs, before the measurement. */
  prepare?(target: Target): Promise<void>
  /** Attacks until `signal`, then returns a summary within 2 s. Its sockets close when its process exits. */
  attack(target: Target, signal: AbortSignal): Promise<Done>
}

/** Requirements of the node. */
export interface Needs {
  /** Settings in addition to those of world.ts. */
  readonly env?: Readonly<Record<string, string>>
  /** The node keeps its log in a Redis that is started with these additional arguments. */
  readonly redis?: readonly string[]
  /** Limit of V8's old space, MB. */
  readonly heap?: number
  /** The node and the good clients use TLS. */
  readonly tls?: true
  /** The node has a port for cleartext HTTP/2. */
  readonly h2c?: true
  /** The attack goes through a load balancer configured as in infra/; the good clients connect directly. */
  readonly balancer?: 'nginx' | 'haproxy'
}

/** The target of an attack, on 127.0.0.1. */
export interface Target {
  /** Port of the node, or of the load balancer in front of it. */
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
