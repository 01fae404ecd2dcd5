// Used as in fanwire's documents.

import { io } from 'socket.io-client'

export function follow({ url, channel, cursor: start = 'latest' }, hear, options) {
  const socket = io(url, options)
  let cursor = start
  socket.on('connect', () => {
    socket.emit('subscribe', { channel, cursor }, ({ ok, error }) => {
      if (error) console.error(error.code, error.message)
      else cursor = ok.cursor
    })
  })
  for (const type of ['message', 'tick']) {
    socket.on(type, event => {
      cursor = event.id
      hear(type, JSON.stringify(event))
    })
  }
  socket.on('gap', gap => {
    cursor = gap.to
    hear('gap', JSON.stringify(gap))
  })
}
