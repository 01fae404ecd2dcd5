-- Reads from several channels. KEYS: four for each channel. ARGV: random epoch name, then for each channel the other
-- arguments of read.lua. Returns for each channel the reply of read.lua, or "-<error>".

local ARGUMENTS = 6

-- The reply of read.lua for a channel without keys, if none may be created.
local function absent(keys)
  return { provisional(keys, 0), provisional(keys, 1) .. ':0', 0, 0, 'absent 0 0' }
end

local replies = {}
for i = 1, #KEYS, 4 do
  local from = 2 + ARGUMENTS * (i - 1) / 4
  local keys = { KEYS[i], KEYS[i + 1], KEYS[i + 2], KEYS[i + 3] }
  local begins = ARGV[from + ARGUMENTS - 1] == '1'
  local done, reply
  -- Most reads by anonymous clients are of such channels; this costs a fifth of calling `read`.
  if not begins and call('EXISTS', unpack(keys)) == 0 then
    done, reply = true, absent(keys)
  else
    done, reply = pcall(read, keys, { ARGV[1], unpack(ARGV, from, from + ARGUMENTS - 1) })
  end
  if not done then reply = '-' .. string.gsub(type(reply) == 'table' and reply.err or reply, '%s+', ' ') end
  replies[#replies + 1] = reply
end
return replies
