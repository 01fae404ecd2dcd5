// The documentation's site: `npm run docs:dev` while writing, `npm run docs:build` for .vitepress/dist. A dead link
// fails the build.

import { defineConfig } from 'vitepress'

const REPOSITORY = 'https://github.com/fanwire/fanwire'

// GitHub Pages serves the site below the repository's name: DOCS_BASE=/fanwire/.
const BASE = process.env.DOCS_BASE ?? '/'

const page = (text: string, link: string) => ({ text, link })
/** A link in the top bar, which is highlighted on all pages of its folder. */
const section = (text: string, folder: string, first = '') => ({
  text,
  link: folder + first,
  activeMatch: `^${folder}`,
})

export default defineConfig({
  title: 'fanwire',
  description:
    'A fan-out broker: publish an event once, read it on any node over any wire, and lose nothing.',
  base: BASE,
  head: [['link', { rel: 'icon', type: 'image/svg+xml', href: `${BASE}logo.svg` }]],
  cleanUrls: true,
  lastUpdated: true,
  // Links to the repository's own files, such as ARCHITECTURE.md, are absolute. Examples name local addresses.
  ignoreDeadLinks: [/^https?:\/\/(localhost|127\.0\.0\.1)/],
  themeConfig: {
    logo: '/logo.svg',
    search: { provider: 'local', options: { detailedView: true } },
    outline: [2, 3],
    socialLinks: [{ icon: 'github', link: REPOSITORY }],
    editLink: { pattern: `${REPOSITORY}/edit/main/docs/:path`, text: 'Edit this page' },
    nav: [
      section('Get started', '/get-started/'),
      section('Wires', '/wires/'),
      section('Deploy', '/deploy/'),
      section('Reference', '/reference/', 'settings'),
      section('Benchmarks', '/benchmarks/'),
    ],
    sidebar: [
      {
        text: 'Start',
        items: [
          page('Get started', '/get-started/'),
          page('A secure node', '/get-started/secure'),
          page('A tour over five wires', '/get-started/tour'),
          page('Examples', '/get-started/examples'),
          page('Concepts', '/concepts'),
        ],
      },
      {
        text: 'Use',
        items: [
          page('Publish', '/publish'),
          page('Reading', '/reading'),
          page('Filters and conflation', '/select'),
          {
            text: 'Wires',
            link: '/wires/',
            collapsed: false,
            items: [
              page('Server-sent events', '/wires/sse'),
              page('WebSocket', '/wires/ws'),
              page('HTTP stream', '/wires/stream'),
              page('Long polling', '/wires/long-poll'),
              page('Short polling', '/wires/poll'),
              page('Socket.IO', '/wires/socket-io'),
              page('Self-reloading page', '/wires/refresh'),
              page('HTTP/2 push', '/wires/push'),
            ],
          },
          page('Client', '/client'),
          page('Command line', '/command-line'),
          page('Console', '/console'),
          page('Presence', '/presence'),
          page('Webhooks', '/webhooks'),
        ],
      },
      {
        text: 'Control access',
        items: [
          page('Access', '/access'),
          page('Hooks', '/hooks'),
          page('Limits', '/limits'),
          page('Server control', '/admin'),
        ],
      },
      {
        text: 'Deploy',
        items: [
          page('Several nodes', '/deploy/'),
          page('Load balancers', '/deploy/load-balancers'),
          page('Redis', '/deploy/redis'),
          page('Kubernetes', '/deploy/kubernetes'),
          page('TLS and HTTP/2', '/deploy/tls'),
        ],
      },
      {
        text: 'Operate',
        items: [
          page('Health and metrics', '/operate/metrics'),
          page('Traces', '/operate/tracing'),
          page('The log in files', '/operate/file-log'),
          page('Stopping a node', '/operate/stopping'),
          page('Sizing', '/operate/sizing'),
          page('Load tests', '/operate/load-test'),
        ],
      },
      {
        text: 'Reference',
        items: [
          page('Settings', '/reference/settings'),
          page('Errors', '/reference/errors'),
          page('Routes', '/reference/routes'),
          page('Access matrix', '/reference/access-matrix'),
          page('Protocol', '/protocol'),
        ],
      },
      {
        text: 'Benchmarks',
        items: [
          page('Overview', '/benchmarks/'),
          page('Wires compared', '/benchmarks/wires'),
          page('Other brokers', '/benchmarks/brokers'),
          page('Faults survived', '/benchmarks/faults'),
          page('Attacks withstood', '/benchmarks/abuse'),
          page('What clients lose', '/benchmarks/clients'),
        ],
      },
      {
        text: 'Migrate',
        items: [
          page('From Centrifugo', '/migrate/centrifugo'),
          page('From Durable Streams', '/migrate/durable-streams'),
          page('From Mercure', '/migrate/mercure'),
          page('From Pusher', '/migrate/pusher'),
          page('From Socket.IO', '/migrate/socket-io'),
        ],
      },
    ],
    footer: { message: 'Released under the MIT License.' },
  },
})
