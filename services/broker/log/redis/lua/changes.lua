-- Tells what may have changed, so that a node looks only at the heads of those of its channels. Channels are spread over
-- buckets by the first three digits of the SHA-1 of their hash's name; whatever changes a channel writes a random name
-- into its bucket's field of one hash (`note` in keys.lua). KEYS: that hash. ARGV: random name, then buckets. Returns what
-- changes whenever anything may have happened that was not noted, then what each bucket holds.

local id = call('HGET', KEYS[1], 'id')
if not id then
  -- It is new, or was lost: what it told before says nothing any more. Where Redis may not write just now, the same holds
  -- of the next call.
  id = ARGV[1]
  redis.pcall('HSET', KEYS[1], 'id', id)
end
if call('PTTL', KEYS[1]) < CHANGES_KEPT / 2 then redis.pcall('PEXPIRE', KEYS[1], CHANGES_KEPT) end
local told = call('HMGET', KEYS[1], unpack(ARGV, 2))
return { master .. ' ' .. countTaken() .. ' ' .. id, unpack(told) }
