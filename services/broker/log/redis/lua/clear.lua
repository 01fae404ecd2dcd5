-- Erases all events of a channel, and its end; what idempotency keys gave stays. KEYS: the channel's, and that of the copy
-- which erase.lua makes. ARGV: random epoch name, retention, pub/sub channel. Returns the head.

local keys = { KEYS[1], KEYS[2], KEYS[3], KEYS[4] }
local c = open(keys, ARGV[1], retention(ARGV[2]))
if c.absent then return provisional(keys, 0) .. '-0' end
if c.base > 0 then
  c.over = false
  -- Where Redis is another one, an epoch has begun already.
  if c.begun then c.least = c.base else lose(c) end
  advance(c)
end
save(c)
if c.base > 0 then
  call('XTRIM', c.keys[2], 'MAXLEN', 0)
  call('UNLINK', KEYS[5])
  tellErased(c, ARGV[3])
end
refresh(c)
return c.epoch .. '-' .. int(c.head)
