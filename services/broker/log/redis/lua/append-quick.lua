-- The most frequent append, at half the cost of append.lua, before which it runs: one event, without an idempotency key or
-- a required head, to a channel that has all its keys, has not ended, was last written by this master, and drops at most
-- its oldest event. Leaves other appends untouched. Puts the replies into APPENDED, by the channel's index in the call.

local now = call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local info = call('INFO', 'replication')
local master = string.find(info, 'role:master', 1, true) and string.match(info, 'master_replid:(%w+)')

-- Time and sum of the event at `offset`; nil if the stream has lost it.
local function entryAt(stream, offset)
  local found = redis.pcall('XRANGE', stream, offset, offset, 'COUNT', 1)[1]
  if not found then return nil end
  local time, sum = string.match(string.sub(found[2][2], 1, 128), '^1 %w+ %d+ (%d+) (%d+) ')
  return tonumber(time), tonumber(sum)
end

local keeps, left, whole, at, place = {}, {}, true, 2, 0
for i = 1, #KEYS, 4 do
  place = place + 1
  local text, spec = ARGV[at + 1], ARGV[at + 3]
  local count = tonumber(ARGV[at + 2])
  local hash = KEYS[i]
  local done = false
  -- 56 is "8", the flag of a channel's end; 32 is a trailing space: no idempotency key.
  if count == 1 and master and not left[hash] and string.byte(spec) ~= 56 and string.byte(spec, -1) == 32 then
    local keep = keeps[text]
    if not keep then
      local events, age, bytes, kept = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
      keep = { tonumber(events), tonumber(age), tonumber(bytes), tonumber(kept) }
      keeps[text] = keep
    end
    local m = redis.pcall('HMGET', hash, 'r', 'e', 'h', 't', 'u', 'f', 'ft', 'fu', 'o', 'x')
    -- `ft` and `fu` are empty if no event is readable.
    if m[1] == master and m[9] ~= '1' and m[7] and m[7] ~= '' then
      local data = ARGV[at + 4]
      local offset, sum = m[3] + 1, tonumber(m[5])
      local time = math.max(tonumber(m[4]), now)
      local floor, oldest, before, over = tonumber(m[6]), tonumber(m[7]), m[8], false
      if offset - floor == keep[1] + 1 then
        -- The channel is full: its oldest event is dropped.
        over, floor = true, floor + 1
        oldest, before = entryAt(KEYS[i + 1], floor + 1)
      end
      local fits = oldest and offset - floor <= keep[1] and oldest >= now - keep[2] and sum + #data - before <= keep[3]
      -- Lua would print larger numbers with an exponent: append.lua handles them.
      if fits and offset < 1e14 and sum < 1e14 and
        call('EXISTS', hash, KEYS[i + 1], KEYS[i + 2], KEYS[i + 3]) == 4 then
        local record = '1 ' .. m[2] .. ' ' .. offset .. ' ' .. time .. ' ' .. sum .. ' ' .. #data .. ' ' ..
          string.sub(spec, 1, -2) .. '\n' .. data
        if not redis.pcall('XADD', KEYS[i + 1], offset, '', record).err then
          if over then
            call('XTRIM', KEYS[i + 1], 'MINID', '~', floor + 1, 'LIMIT', 1000)
            call('HSET', hash, 'h', offset, 't', time, 'u', sum + #data, 'f', floor, 'ft', oldest, 'fu', before)
          else
            call('HSET', hash, 'h', offset, 't', time, 'u', sum + #data)
          end
          if (tonumber(m[10]) or 0) - now < keep[4] / 2 then endure(KEYS, i, now + keep[4]) end
          note(hash)
          local published = redis.pcall(PUBLISH, ARGV[at], record)
          APPENDED[place] = m[2] .. ' ' .. time .. ' ' .. offset
          if type(published) == 'table' then APPENDED[place] = '-' .. string.gsub(published.err, '%s+', ' ') end
          done = true
        end
      end
    end
  end
  if not done then
    left[hash], whole = true, false
    count = count or tonumber(string.match(ARGV[at + 2], '^%d+'))
  end
  at = at + 3 + 2 * count
end
if whole then return table.concat(APPENDED, '\n') end
