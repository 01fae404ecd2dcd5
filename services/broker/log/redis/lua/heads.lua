-- The heads of many channels. KEYS: four for each. ARGV: the retention of each. Returns for each channel
-- "<epoch>-<offset> <erasures>", or "-" if it has no keys, or "" if only a read can determine its head, since Redis is
-- another one or keys are missing. Refreshes the keys, and removes expired events.

local reply = {}
for i = 1, #KEYS, 4 do
  local keys = { KEYS[i], KEYS[i + 1], KEYS[i + 2], KEYS[i + 3] }
  local keep = retention(ARGV[(i + 3) / 4])
  local m = call('HMGET', keys[1], 'r', 'e', 'h', 'ft', 'z')
  local there = call('EXISTS', unpack(keys))
  if m[1] == master and there == 4 then
    if (tonumber(m[4]) or now) < now - keep.age then
      local c = open(keys, '', keep)
      -- If Redis refuses writes now, a later call removes them.
      if c.moved and not c.begun then pcall(save, c) end
    end
    refresh({ keys = keys, keep = keep, now = now, head = tonumber(m[3]) })
    reply[#reply + 1] = m[2] .. '-' .. m[3] .. ' ' .. (m[5] or 0)
  else
    reply[#reply + 1] = there == 0 and '-' or ''
  end
end
return reply
