-- The heads of many channels. KEYS: four for each. Returns for each "<epoch>-<offset>", or "" where only a read
-- can tell, since Redis is another one or keys are missing. Keys that are used so live on.

local reply = {}
for i = 1, #KEYS, 4 do
  local keys = { KEYS[i], KEYS[i + 1], KEYS[i + 2], KEYS[i + 3] }
  local m = call('HMGET', keys[1], 'r', 'e', 'h')
  if m[1] == master and call('EXISTS', unpack(keys)) == 4 then
    refresh({ keys = keys, now = now, head = tonumber(m[3]) })
    reply[#reply + 1] = m[2] .. '-' .. m[3]
  else
    reply[#reply + 1] = ''
  end
end
return reply
