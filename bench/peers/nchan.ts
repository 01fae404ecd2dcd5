// Nchan: nginx with its module and one worker. The configuration is generated for the run.

import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { freePort } from '../../infra/local/ports.ts'
import { Server } from '../processes/server.ts'
import type { Peer, PeerOptions, RunningPeer } from './peer.ts'

const MODULES = ['/usr/lib/nginx/modules', '/usr/lib64/nginx/modules', '/usr/local/nginx/modules']

const POST = { path: '/pub/{channel}' }

export const nchan: Peer = {
  name: 'nchan',
  title: 'Nchan (nginx)',
  wires: ['ws', 'sse'],
  cursors: false,
  publishes: ['POST'],
  async prepare() {
    if (nginx() === undefined) return 'nginx is not installed: apt-get install nginx libnginx-mod-nchan'
    if (modulePath() === undefined) return 'its module is not installed: apt-get install libnginx-mod-nchan'
    return undefined
  },
  async start(options: PeerOptions): Promise<RunningPeer> {
    const port = await freePort()
    const file = join(options.dir, 'nginx.conf')
    await mkdir(join(options.dir, 'temp'), { recursive: true })
    await writeFile(file, configuration(port, options))
    const server = await Server.start({
      command: nginx() ?? 'nginx',
      args: ['-p', options.dir, '-c', file, '-e', 'stderr'],
      ready: /start worker process \d/,
    })
    return {
      server,
      port,
      sink: { kind: 'post', port, by: POST },
      publishing: { POST },
      reading: (wire, channel) => ({ wire: { kind: wire }, path: `/${wire}/${channel}` }),
      collect: () => false,
    }
  },
}

function nginx(): string | undefined {
  const dirs = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return dirs.map(dir => join(dir, 'nginx')).find(path => existsSync(path))
}

function modulePath(): string | undefined {
  return MODULES.map(dir => join(dir, 'ngx_nchan_module.so')).find(path => existsSync(path))
}

function configuration(port: number, { dir, redisUrl, throughRedis }: PeerOptions): string {
  const redis = throughRedis ? 'nchan_redis_pass redis;' : ''
  // Messages are kept as long as fanwire keeps events.
  const keep = 'nchan_message_buffer_length 10000; nchan_message_timeout 1h;'
  const subscriber = (wire: string, kind: string) =>
    `location ~ ^/${wire}/(.+)$ { nchan_subscriber ${kind}; nchan_channel_id $1; ` +
    `nchan_subscriber_first_message newest; ${keep} ${redis} }`
  return `
load_module ${modulePath()};
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid ${join(dir, 'nginx.pid')};
error_log stderr notice;
events { worker_connections 19000; }
http {
  access_log off;
  client_body_temp_path ${join(dir, 'temp/body')};
  proxy_temp_path ${join(dir, 'temp/proxy')};
  fastcgi_temp_path ${join(dir, 'temp/fastcgi')};
  uwsgi_temp_path ${join(dir, 'temp/uwsgi')};
  scgi_temp_path ${join(dir, 'temp/scgi')};
  nchan_shared_memory_size 512M;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  ${throughRedis ? `upstream redis { nchan_redis_server ${redisUrl}; }` : ''}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location ~ ^/pub/(.+)$ { nchan_publisher; nchan_channel_id $1; ${keep} ${redis} }
    ${subscriber('ws', 'websocket')}
    ${subscriber('sse', 'eventsource')}
  }
}
`
}
