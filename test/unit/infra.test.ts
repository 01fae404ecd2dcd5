// The files of infra/ and docker-compose.yml are valid for nodes, and consistent with each other.

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { type Config, readConfig } from '../../services/config/config.ts'
import { stopsWithin } from '../../services/node/stop.ts'
import { makeCertificate } from '../contract/http2.ts'
import { startMemoryNode } from '../contract/node.ts'

const ROOT = join(import.meta.dirname, '../..')
const text = (path: string) => readFileSync(join(ROOT, path), 'utf8')

interface Tree {
  readonly [name: string]: Tree
}

/** The YAML documents of a file. Raises if one is malformed. */
function documents(path: string): Tree[] {
  return parseAllDocuments(text(path), { merge: true, strict: true }).map(document => {
    const [problem] = [...document.errors, ...document.warnings]
    if (problem !== undefined) throw problem
    return document.toJS()
  })
}

function settings(env: object): Config {
  const command = readConfig([], env as Record<string, string>)
  if (!('config' in command)) throw new Error('no config')
  return command.config
}

/** Variables that docker-compose reads from its environment. */
const SECRETS = { FANWIRE_PUBLISH_KEY: 'secret', REDIS_PASSWORD: '0123456789abcdef' }

const [compose] = documents('docker-compose.yml') as [Tree]
const services = compose.services as Tree
const nodes = Object.entries(services).filter(([, service]) => String(service.image) === 'fanwire')

t.test('compose: nodes start with their settings, and have enough time to stop', async t => {
  t.equal(nodes.length, 5)
  for (const [name, { environment, stop_grace_period: grace }] of nodes) {
    const filled = Object.entries(environment ?? {}).map(([setting, value]) => [
      setting,
      String(value).replace(/\$\{(\w+)[^}]*\}/g, (_, secret: keyof typeof SECRETS) => SECRETS[secret]),
    ])
    const config = settings(Object.fromEntries(filled))
    t.match(config, { publishKeys: ['secret'], redisUrl: `redis://:${SECRETS.REDIS_PASSWORD}@redis:6379` })
    t.match(name, new RegExp(`^${config.role}-\\d$`))
    t.ok(Number.parseInt(String(grace)) * 1000 > stopsWithin(config), String(grace))
  }
})

const without = spawnSync('docker-compose', ['version']).status === 0 ? {} : { skip: 'no docker-compose' }
t.test('compose: docker-compose accepts the file', without, async t => {
  const { PATH } = process.env
  execFileSync('docker-compose', ['config', '--quiet'], { cwd: ROOT, env: { PATH, ...SECRETS } })
  for (const name of Object.keys(SECRETS)) {
    const env = { PATH, ...SECRETS, [name]: '' }
    t.not(spawnSync('docker-compose', ['config'], { cwd: ROOT, env }).status, 0, `rejected without ${name}`)
  }
})

t.test('S9: compose: its Redis requires the password that the nodes have', async t => {
  const { command, environment } = services.redis as Tree
  t.match(String(command), /--requirepass \$\{REDIS_PASSWORD\}/)
  t.match(environment, { REDISCLI_AUTH: /^\$\{REDIS_PASSWORD\}$/ }, 'the health check uses the password')
})

t.test('both load balancers list the nodes of compose', async t => {
  for (const [path, word] of [
    ['infra/nginx-nodes.conf', 'upstream'],
    ['infra/haproxy-nodes.cfg', 'backend'],
  ] as const) {
    for (const [group, role] of [
      ['edges', 'edge'],
      ['edges_by_client', 'edge'],
      ['writers', 'writer'],
    ] as const) {
      const block = new RegExp(`^${word} ${group} [^]*?(?=^${word}|(?![^]))`, 'm').exec(text(path))?.[0] ?? ''
      const named = [...block.matchAll(/^ +server .*?([\w-]+):8080/gm)].map(match => match[1])
      const there = nodes.map(([name]) => name).filter(name => name.startsWith(role))
      t.same(named.sort(), there.sort(), `${path}: ${group}`)
    }
  }
})

t.test('the files mounted into a container exist', async t => {
  const mounts = (services['load-balancer'] as Tree).volumes as unknown as string[]
  t.equal(mounts.length, 2)
  for (const mount of mounts) t.ok(text(mount.split(':')[0] ?? '').length > 0)
  t.match(text('infra/Dockerfile'), /^USER node$/m)
})

t.test("a container checks its node's health, over TLS too", async t => {
  const [, command = ''] = /^HEALTHCHECK .*\\\n *(\[.*\])$/m.exec(text('infra/Dockerfile')) ?? []
  const [node, ...args] = JSON.parse(command) as string[]
  const { cert, key } = makeCertificate()
  for (const FANWIRE_TLS_CERT of ['', cert]) {
    const own = await startMemoryNode(FANWIRE_TLS_CERT === '' ? {} : { TLS_CERT: cert, TLS_KEY: key })
    const healthy = async () => {
      const child = spawn(`${node}`, args, {
        env: { PATH: process.env.PATH, PORT: `${own.port}`, FANWIRE_TLS_CERT },
      })
      const [code] = await once(child, 'exit')
      return code === 0
    }
    t.ok(await healthy())
    await own.close()
    t.notOk(await healthy())
  }
})

t.test('the commented TLS settings are valid', async t => {
  for (const path of ['docker-compose.yml', 'infra/kubernetes/settings.yaml']) {
    const commented = [...text(path).matchAll(/^ *# (FANWIRE_TLS_\w+): (.*)$/gm)].map(([, ...pair]) => pair)
    const config = settings(Object.fromEntries(commented))
    t.match(config, { tlsCert: '/tls/tls.crt', tlsKey: '/tls/tls.key' }, path)
  }
})

const manifests = ['settings', 'writers', 'edges', 'network-policy'].flatMap(name =>
  documents(`infra/kubernetes/${name}.yaml`),
)
const kinds = (kind: string) => manifests.filter(each => String(each.kind) === kind)

t.test('kubernetes: nodes start with their settings, and have enough time to stop', async t => {
  const given = kinds('ConfigMap')[0]?.data as unknown as Record<string, string>
  const deployments = kinds('Deployment')
  t.equal(deployments.length, 2)
  for (const { metadata, spec } of deployments) {
    const pod = (spec as Tree).template?.spec as Tree
    const [container] = pod.containers as unknown as [Tree]
    const env = container.env as unknown as { name: string; value?: string }[]
    const config = settings({
      ...given,
      ...Object.fromEntries(env.map(({ name, value }) => [name, value ?? 'secret'])),
    })
    t.equal(`fanwire-${config.role}`, metadata?.name as unknown)
    t.ok(Number(pod.terminationGracePeriodSeconds) * 1000 > stopsWithin(config))
    t.equal(
      pod.enableServiceLinks as unknown,
      false,
      'otherwise Kubernetes would set FANWIRE_EDGE_PORT, which is not a setting',
    )
    t.throws(() => settings({ ...given, FANWIRE_EDGE_PORT: 'tcp://10.0.0.1:80' }), /FANWIRE_EDGE_PORT/)
    t.match(container, {
      livenessProbe: { httpGet: { path: '/healthz' } },
      readinessProbe: { httpGet: { path: '/readyz' } },
      securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false },
    })
    t.match(pod, { securityContext: { runAsNonRoot: true } })
  }
})

t.test('kubernetes: every selector finds the pods of its deployment', async t => {
  for (const { metadata, spec } of kinds('Deployment')) {
    const labels = (spec as Tree).template?.metadata?.labels
    t.same((spec as Tree).selector?.matchLabels, labels)
    for (const kind of ['Service', 'PodDisruptionBudget']) {
      const [own] = kinds(kind).filter(each => each.metadata?.name === metadata?.name)
      const selector = own?.spec?.selector
      t.same(kind === 'Service' ? selector : selector?.matchLabels, labels, kind)
    }
  }
  const [scaler] = kinds('HorizontalPodAutoscaler')
  t.match(scaler, { spec: { scaleTargetRef: { kind: 'Deployment', name: 'fanwire-edge' } } })
  t.match(JSON.stringify(scaler), /fanwire_connections/)
})

t.test(
  'S9: kubernetes: policies let clients reach the edges, applications the writers, and Prometheus the metrics',
  async t => {
    const given = kinds('ConfigMap')[0]?.data as unknown as Record<string, string>
    for (const { metadata, spec } of kinds('Deployment')) {
      const { metadata: pod, spec: podSpec } = (spec as Tree).template as Tree
      const [container] = (podSpec as Tree).containers as unknown as [Tree]
      const ports = container.ports as unknown as { name: string; containerPort: number }[]
      const portOf = (name: string) => ports.find(port => port.name === name)?.containerPort
      t.equal(portOf('http'), Number(given.PORT))
      t.equal(portOf('metrics'), Number(given.FANWIRE_METRICS_PORT))
      t.equal(Number(pod?.annotations?.['prometheus.io/port']), portOf('metrics'))

      const [policy] = kinds('NetworkPolicy').filter(each => each.metadata?.name === metadata?.name)
      t.same(policy?.spec?.podSelector?.matchLabels, (spec as Tree).selector?.matchLabels)
      const ingress = policy?.spec?.ingress as unknown as { from?: unknown; ports: { port: string }[] }[]
      const open = (port: string) => ingress.filter(({ ports }) => ports.some(each => each.port === port))
      t.equal(open('http').length, 1)
      t.equal(open('http')[0]?.from === undefined, metadata?.name === ('fanwire-edge' as unknown))
      t.equal(open('metrics').length, 1)
      t.match(JSON.stringify(open('metrics')[0]?.from), /"kubernetes.io\/metadata.name":"monitoring"/)
      const egress = policy?.spec?.egress as unknown as { ports: { port: number }[] }[]
      const { port } = new URL(given.REDIS_URL ?? '')
      t.ok(
        egress.some(({ ports }) => ports.some(each => each.port === Number(port))),
        'nodes reach Redis',
      )
    }
  },
)

// Monitoring ------------------------------------------------------------------------------------------------

const watched = [
  ...[...text('infra/prometheus/alerts.yaml').matchAll(/expr: (.*)/g)].map(([, expr = '']) => expr),
  ...[...text('infra/grafana/fanwire.json').matchAll(/"expr": ("(?:[^"\\]|\\.)*")/g)].map(
    ([, expr = '']) => JSON.parse(expr) as string,
  ),
]

t.test('alerts and the dashboard use existing metrics', async t => {
  const node = await startMemoryNode({})
  t.teardown(() => node.close())
  const { body } = await node.get('/metrics')
  const there = new Set([...body.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name))
  t.ok(watched.length > 25)
  for (const expr of watched) {
    const names = [...expr.matchAll(/\b((?:fanwire|process|nodejs)_\w+)\b/g)].map(([, name = '']) => name)
    t.ok(names.length > 0, expr)
    for (const name of names) t.ok(there.has(name) || there.has(name.replace(/_bucket$/, '')), name)
  }
})

const noPromtool = spawnSync('promtool', ['--version']).status === 0 ? {} : { skip: 'no promtool' }
t.test('Prometheus accepts the alerts', noPromtool, async t => {
  execFileSync('promtool', ['check', 'rules', join(ROOT, 'infra/prometheus/alerts.yaml')])
  t.pass()
})
