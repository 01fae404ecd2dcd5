-- Returns what may have changed, so that a node compares only the heads of those channels. Channels are spread over
-- buckets by the first three digits of the SHA-1 of their hash's name; whatever changes a channel writes a random name
-- into its bucket's field of one hash (`note` in keys.lua). KEYS: that hash. ARGV: random name, then buckets. Returns a
-- value that differs after anything that may not have been recorded, then the value of each bucket.

local id = call('HGET', KEYS[1], 'id')
if not id then
  -- It is new, or was lost: earlier values are void. While Redis refuses writes, that holds for
  -- the next call too.
  id = ARGV[1]
  redis.pcall('HSET', KEYS[1], 'id', id)
end
if call('PTTL', KEYS[1]) < CHANGES_KEPT / 2 then redis.pcall('PEXPIRE', KEYS[1], CHANGES_KEPT) end
local values = call('HMGET', KEYS[1], unpack(ARGV, 2))
return { master .. ' ' .. countTaken() .. ' ' .. id, unpack(values) }
