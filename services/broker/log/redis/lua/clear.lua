-- Erases all events of a channel, and its end; what idempotency keys gave stays. KEYS: the channel's. ARGV: random epoch
-- name, retention, pub/sub channel. Returns the head.

local c = open(KEYS, ARGV[1], retention(ARGV[2]))
if c.absent then return provisional(KEYS, 0) .. '-0' end
if c.base > 0 then
  c.over = false
  -- Where Redis is another one, an epoch has begun already.
  if c.begun then c.least = c.base else lose(c) end
  advance(c)
end
save(c)
if c.base > 0 then
  call('XTRIM', c.keys[2], 'MAXLEN', 0)
  -- What erase.lua copied. It is no key of this script: a slot on its way to another master has to have all of those.
  redis.pcall('UNLINK', string.sub(KEYS[1], 1, -2) .. 'c')
  call('HDEL', c.keys[1], 'k')
  tellErased(c, ARGV[3])
end
refresh(c)
return c.epoch .. '-' .. int(c.head)
