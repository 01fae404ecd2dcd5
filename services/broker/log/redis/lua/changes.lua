-- Tells a node which channels may have changed, so that it compares only the heads of those. Channels are spread over
-- buckets by the first three digits of the SHA-1 of their hash's name. Each change of a channel writes a random name into
-- its bucket's field of one hash (`note` in keys.lua). KEYS: that hash. ARGV: random name, then buckets. Returns a value
-- that differs if changes may not have been recorded, then the value of each bucket.

local id = call('HGET', KEYS[1], 'id')
if not id then
  -- The hash is new, or was lost: earlier values are void. While Redis refuses writes, they remain void.
  id = ARGV[1]
  redis.pcall('HSET', KEYS[1], 'id', id)
end
if call('PTTL', KEYS[1]) < CHANGES_KEPT / 2 then redis.pcall('PEXPIRE', KEYS[1], CHANGES_KEPT) end
local values = call('HMGET', KEYS[1], unpack(ARGV, 2))
return { master .. ' ' .. countTaken() .. ' ' .. id, unpack(values) }
