-- Erases all events of a channel, and its end. Results of idempotency keys remain. KEYS: the channel's. ARGV: random epoch
-- name, retention, pub/sub channel. Returns the head.

local c = open(KEYS, ARGV[1], retention(ARGV[2]))
if c.absent then return provisional(KEYS, 0) .. '-0' end
if c.base > 0 then
  c.over = false
  lose(c)
  advance(c)
end
save(c)
if c.base > 0 then
  call('XTRIM', c.keys[2], 'MAXLEN', 0)
  -- The copy of erase.lua. It is not in KEYS: while a slot migrates, all of those would have to exist.
  redis.pcall('UNLINK', string.sub(KEYS[1], 1, -2) .. 'c')
  call('HDEL', c.keys[1], 'k')
  tellErased(c, ARGV[3])
end
refresh(c)
return c.epoch .. '-' .. int(c.head)
