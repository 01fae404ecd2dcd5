-- Shared by all scripts, and the first part of each.

local call = redis.call

-- Records that the channel with this hash changed: see changes.lua. The change is already written, so this does not raise.
local function note(hash)
  if CHANGES and redis.pcall('HSET', CHANGES, string.sub(redis.sha1hex(hash), 1, 3), ARGV[1]) == 1 then
    redis.pcall('PEXPIRE', CHANGES, CHANGES_KEPT)
  end
end

-- Lets the four keys of a channel, from `keys[i]` on, expire at `time`. Ignores refused writes, since readers call it too.
local function endure(keys, i, time)
  for k = i, i + 3 do redis.pcall('PEXPIREAT', keys[k], time) end
  redis.pcall('HSET', keys[i], 'x', time)
end
