-- Stands before all scripts: what is done with a channel's keys on every way that leads to them.

local call = redis.call

-- Something of the channel with this hash changed, in a way that followers have to hear of: see changes.lua. It has been
-- written already, so nothing is raised.
local function note(hash)
  if CHANGES and redis.pcall('HSET', CHANGES, string.sub(redis.sha1hex(hash), 1, 3), ARGV[1]) == 1 then
    redis.pcall('PEXPIRE', CHANGES, CHANGES_KEPT)
  end
end

-- The four keys of a channel, of which the first is at `i`, end at that time. Where Redis may not write just now, a reader
-- need not know.
local function endure(keys, i, time)
  for k = i, i + 3 do redis.pcall('PEXPIREAT', keys[k], time) end
  redis.pcall('HSET', keys[i], 'x', time)
end
