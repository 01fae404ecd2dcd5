// The command line of `fanwire bench`.

import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { WIRES, type WireName } from '../load/order.ts'
import { LEAST } from '../load/marker.ts'

/** The options are wrong. The message has one line per fault. */
export class Misused extends Error {}

export interface Thresholds {
  /** ms. */
  readonly maxP50?: number
  readonly maxP99?: number
  readonly maxLost?: number
  readonly maxRepeated?: number
  readonly maxErrors?: number
}

export interface Options {
  readonly urls: readonly string[]
  readonly wires: readonly WireName[]
  /** Per wire. */
  readonly clients: number
  /** Events per second over all channels; 0: connections stay idle. */
  readonly rate: number
  /** Seconds, like `every`, `wait` and `rampUp`. */
  readonly duration: number
  readonly channels: number
  readonly channelPrefix: string
  /** Bytes of an event's data. */
  readonly size: number
  readonly priority: 'high' | 'low'
  readonly every: number
  readonly wait: number
  readonly limit: number | undefined
  readonly rampUp: number
  readonly publishUrl: string
  /** Secret. */
  readonly publishKey: string | undefined
  /** May contain secrets. */
  readonly headers: Readonly<Record<string, string>>
  readonly insecure: boolean
  /** Per wire. */
  readonly processes: number
  /** Whether the number was not given, so that more may be used. */
  readonly processesFree: boolean
  readonly out: string | undefined
  readonly metrics: readonly string[]
  readonly thresholds: Thresholds
}

export const HELP = `fanwire bench: a load test of a running deployment, with any number of clients of any wire

Usage: fanwire bench --url URL [options]

  fanwire bench --url http://127.0.0.1:8080 --clients 1000 --rate 50 --duration 10
  fanwire bench --url https://push.example.com --wire sse,ws,long-poll --clients 5000 --rate 100 \\
                --duration 60 --ramp-up 30 --max-p99 250 --max-lost 0

Target:
  --url URL[,URL]        the deployment: a node or a load balancer; clients are spread over several
  --wire WIRE[,WIRE]     wires to load (sse,ws): ${WIRES.join(', ')}
                         push: --url is HTTP/2, https:// or a node's FANWIRE_H2C_PORT
  --header 'NAME: VALUE' sent by every client; may be repeated
  --token TOKEN          the same as --header 'Authorization: Bearer TOKEN'
  --insecure             accepts any TLS certificate (poll, long-poll and refresh always do)

Load:
  --clients N            clients per wire (100)
  --rate N               events per second, over all channels; 0: connections stay idle (10)
  --duration SECONDS     length of the measurement (30)
  --ramp-up SECONDS      time over which the clients connect (0: as fast as possible)
  --channels N           channels over which clients and events are spread (1)
  --channel-prefix NAME  start of their names; the rest is new in every run (bench)
  --size BYTES           size of an event's data, at least ${LEAST} (128)
  --priority high|low    priority of the events (high)
  --every SECONDS        poll, refresh: time between two requests of a client (1)
  --wait SECONDS         long-poll: time that a request is held, 1 to 55 (25)
  --limit N              poll, long-poll, refresh: maximum events of a response, 1 to 1000
                         (refresh: the events between two requests; otherwise the node's default)
  --processes N          load processes per wire (by the cores of this machine)

Publishing:
  --publish-url URL      URL for publishing (the first --url)
  --publish-key KEY      bearer key; the variable FANWIRE_PUBLISH_KEY hides it from other users

Results:
  --out FILE             file for the result as JSON
  --metrics URL[,URL]    /metrics of the nodes, for CPU per delivery and memory per client
  --max-p50 MS, --max-p99 MS, --max-lost N, --max-repeated N, --max-errors N
                         thresholds for each wire

Exits with 0; 1 if a threshold was exceeded, and reports which; 2 on wrong options; 3 if it could not run.
Ctrl-C stops the test and prints the result so far.
`

const FLAGS = {
  url: { type: 'string', multiple: true },
  wire: { type: 'string', default: 'sse,ws' },
  header: { type: 'string', multiple: true, default: [] as string[] },
  token: { type: 'string' },
  insecure: { type: 'boolean', default: false },
  clients: { type: 'string', default: '100' },
  rate: { type: 'string', default: '10' },
  duration: { type: 'string', default: '30' },
  'ramp-up': { type: 'string', default: '0' },
  channels: { type: 'string', default: '1' },
  'channel-prefix': { type: 'string', default: 'bench' },
  size: { type: 'string', default: '128' },
  priority: { type: 'string', default: 'high' },
  every: { type: 'string', default: '1' },
  wait: { type: 'string', default: '25' },
  limit: { type: 'string' },
  processes: { type: 'string' },
  'publish-url': { type: 'string' },
  'publish-key': { type: 'string' },
  out: { type: 'string' },
  metrics: { type: 'string', multiple: true, default: [] as string[] },
  'max-p50': { type: 'string' },
  'max-p99': { type: 'string' },
  'max-lost': { type: 'string' },
  'max-repeated': { type: 'string' },
  'max-errors': { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** For up to this many clients, one process is enough. */
const FEW = 250
const MOST_CLIENTS = 1_000_000
/** Sequence numbers have eight digits. */
const MOST_EVENTS = 90_000_000
const DAY = 86_400

/** Undefined: help was requested. Raises Misused. */
export function readOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Options | undefined {
  const values = parse(args)
  if (values.help) return undefined
  const wrong: string[] = []
  const number = (flag: keyof typeof FLAGS, least: number, most: number, whole = true) => {
    const text = values[flag] as string
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most && (!whole || Number.isInteger(value))) return value
    wrong.push(
      `--${flag} ${text}: expected ${whole ? 'a whole number' : 'a number'} from ${least} to ${most}`,
    )
    return least
  }
  const maybe = (flag: keyof typeof FLAGS, least: number, most: number, whole = true) =>
    values[flag] === undefined ? undefined : number(flag, least, most, whole)
  const urlsOf = (flag: keyof typeof FLAGS, texts: readonly string[]) => {
    const urls = texts.flatMap(each => each.split(',')).map(each => each.trim())
    for (const url of urls) {
      if (!/^https?:\/\/[^/]/.test(url) || !URL.canParse(url)) {
        wrong.push(`--${flag} ${url}: expected a URL such as http://127.0.0.1:8080`)
      }
    }
    return urls
  }

  const urls = urlsOf('url', values.url ?? [])
  if (urls.length === 0)
    wrong.push('--url is missing: where is the deployment, such as http://127.0.0.1:8080?')
  const wires = [...new Set(values.wire.split(',').map(each => each.trim()))]
  for (const wire of wires) {
    if (!WIRES.some(each => each === wire)) wrong.push(`--wire ${wire}: expected some of ${WIRES.join(', ')}`)
  }
  const headers: Record<string, string> = {}
  for (const header of values.header) {
    const [, name, value] = /^([!#$%&'*+.^_`|~\w-]+):\s*([\x20-\x7e]*)$/.exec(header) ?? []
    // It may be a secret, so it is not printed.
    if (name === undefined || value === undefined) wrong.push("--header: expected 'Name: value'")
    else headers[name] = value
  }
  if (values.token !== undefined) headers.Authorization = `Bearer ${values.token}`
  if (
    !/^[A-Za-z0-9_.:~@-]{1,150}$/.test(values['channel-prefix']) ||
    /^fanwire:/.test(values['channel-prefix'])
  ) {
    wrong.push(`--channel-prefix ${values['channel-prefix']}: expected 1 to 150 of A-Z a-z 0-9 _ . : ~ @ -`)
  }
  const { priority } = values
  if (priority !== 'high' && priority !== 'low') wrong.push(`--priority ${priority}: expected high or low`)

  const clients = number('clients', 1, MOST_CLIENTS)
  const channels = number('channels', 1, 100_000)
  if (channels > clients) wrong.push(`--channels ${channels}: more than the ${clients} clients of a wire`)
  const rate = number('rate', 0, 1_000_000, false)
  const duration = number('duration', 1, 7 * DAY, false)
  if (rate * duration > MOST_EVENTS) wrong.push(`--rate and --duration: more than ${MOST_EVENTS} events`)
  const every = number('every', 0.1, 3600, false)
  const processes = maybe('processes', 1, 256)
  const publishUrl =
    values['publish-url'] === undefined ? urls : urlsOf('publish-url', [values['publish-url']])
  const threshold = (name: keyof Thresholds, flag: keyof typeof FLAGS, whole: boolean) => {
    const value = maybe(flag, 0, Number.MAX_SAFE_INTEGER, whole)
    return value === undefined ? {} : { [name]: value }
  }
  const options: Options = {
    urls,
    wires: wires as WireName[],
    clients,
    rate,
    duration,
    channels,
    channelPrefix: values['channel-prefix'],
    size: number('size', LEAST, 2 ** 20),
    priority: priority as 'high' | 'low',
    every,
    wait: number('wait', 1, 55),
    limit: maybe('limit', 1, 1000),
    rampUp: number('ramp-up', 0, DAY, false),
    publishUrl: publishUrl[0] ?? '',
    publishKey: values['publish-key'] ?? env.FANWIRE_PUBLISH_KEY?.split(',', 1)[0],
    headers,
    insecure: values.insecure,
    processes:
      processes ?? Math.min(Math.ceil(clients / FEW), Math.ceil(availableParallelism() / wires.length)),
    processesFree: processes === undefined,
    out: values.out,
    metrics: urlsOf('metrics', values.metrics),
    thresholds: {
      ...threshold('maxP50', 'max-p50', false),
      ...threshold('maxP99', 'max-p99', false),
      ...threshold('maxLost', 'max-lost', true),
      ...threshold('maxRepeated', 'max-repeated', true),
      ...threshold('maxErrors', 'max-errors', true),
    },
  }
  if (wrong.length > 0) throw new Misused(wrong.join('\n'))
  return options
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: FLAGS }).values
  } catch (error) {
    throw new Misused((error as Error).message)
  }
}
