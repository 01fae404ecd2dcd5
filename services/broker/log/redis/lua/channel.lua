-- Shared by all scripts of the log: opens a channel, trims it to its retention, and saves it. Precedes each script, after
-- keys.lua and these constants, which scripts.ts defines:
--   WINDOW          how long an idempotency key is remembered, ms
--   IDLE            the maximum time to live of the keys of a channel without events, ms
--   EPOCHS          the number of ended epochs that are remembered
--   PROVISIONAL     ms after which a channel without keys is in another provisional epoch
--   PUBLISH         the command that publishes
--   SHARDED         whether this is a cluster
--   CHANGES         the key that records changes (changes.lua); false in a cluster
--   CHANGES_KEPT    its minimum time to live, ms
--   APPENDED        replies of append-quick.lua, by the channel's index
--
-- A channel has four keys, which are created together and expire together:
--   1 hash: r replid of the master that wrote last, e epoch, g ended epochs ("name:end name:end", oldest first),
--     h offset, t time and u sum of the head; f floor, ft and fu time and sum of the event after it;
--     o 1 if the channel has ended, z number of erasures, k offset of the event that is being erased, x time at which the
--     keys expire, ms
--   2 stream: one record for each event, with the id <offset>-0
--   3, 4 hashes: the idempotency keys of even and of odd windows, each with "epoch offset time"; the field " " is the
--     number of the window
-- A record is "1 <epoch> <offset> <time> <sum> <bytes> <flags> <type>\n<data>". The sum is the bytes of data of all earlier
-- events. Flags add up: 1 the data is base64, 2 low priority, 4 the type is followed by "|" and the tags
-- (application/x-www-form-urlencoded), 8 the end of the channel, 16 erased. Times and sums only grow, so a binary search
-- finds the floor.
--
-- Scripts are not rolled back. They check and plan first, and Redis refuses their first write if it is out of memory,
-- read-only or unable to save, so a refused script has written nothing. An existing channel is trimmed first: Redis allows
-- that without memory, and refuses no write after a script's first one.

-- The flags of an end's record.
local END = '8'

-- Prints a number without an exponent, which Lua would use above 1e14.
local function int(number)
  return number < 1e14 and number or string.format('%.0f', number)
end

local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local now = clock()

-- Parses a retention: "<events> <age> <bytes> <kept>". `kept` is the time to live of the keys. Both times are in ms.
local function retention(text)
  local events, age, bytes, kept = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  return { events = tonumber(events), age = tonumber(age), bytes = tonumber(bytes), kept = tonumber(kept) }
end

-- The data set's identity, which changes with each restart, failover and full resync.
local function replid()
  local info = call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then
    error({ err = 'READONLY this Redis is a replica' })
  end
  return string.match(info, 'master_replid:(%w+)')
end

local master = replid()

-- Time and sum of the event at `offset`; nil if the stream has lost it.
local function entry(c, offset)
  local known = c.entries[offset]
  if known then return known end
  local found = call('XRANGE', c.keys[2], offset, offset, 'COUNT', 1)[1]
  if not found then return nil end
  local time, sum = string.match(string.sub(found[2][2], 1, 128), '^1 %w+ %d+ (%d+) (%d+) ')
  known = { time = tonumber(time), sum = tonumber(sum) }
  c.entries[offset] = known
  return known
end

-- The least number in low..high for which `ok` holds, given that it holds for `high`. Fastest if that is near `low`.
local function least(low, high, ok)
  local at, step = low, 1
  while at < high and not ok(at) do
    low = at + 1
    at = math.min(high, at + step)
    step = step * 2
  end
  high = at
  while low < high do
    local middle = math.floor((low + high) / 2)
    if ok(middle) then high = middle else low = middle + 1 end
  end
  return high
end

-- Acknowledged events may have been lost: the epoch ends after the last surviving event, and another begins there.
local function begin(c)
  local ended = c.ended .. (c.ended == '' and '' or ' ') .. c.epoch .. ':' .. int(c.base)
  local _, count = string.gsub(ended, ':', ':')
  if count > EPOCHS then
    local forgotten, rest = string.match(ended, '^%w+:(%d+) (.*)$')
    ended = rest
    c.least = math.max(c.least, tonumber(forgotten))
  end
  c.ended = ended
  c.epoch = c.name
  c.begun = true
end

-- Nothing that the stream still holds can be relied on: the floor rises to the head. One call begins at most one epoch.
local function lose(c)
  c.least = c.base
  if not c.begun then begin(c) end
end

-- Raises the floor as far as retention and forgotten epochs require.
local function advance(c)
  local keep = c.keep
  local low = math.max(c.floor, c.least, c.head - keep.events)
  local oldest = c.now - keep.age
  local next = c.entries[low + 1]
  if low == c.floor and next and next.time >= oldest and (c.sum - next.sum <= keep.bytes or low == c.head - 1) then
    return
  end
  local broken = false
  local function kept(floor)
    if floor == c.head then return true end
    local following = entry(c, floor + 1)
    broken = broken or not following
    return broken or
      following.time >= oldest and (c.sum - following.sum <= keep.bytes or floor == c.head - 1)
  end
  if c.time < oldest then low = c.head end
  local floor = least(low, c.head, kept)
  if broken then
    lose(c)
    return advance(c)
  end
  c.moved = c.moved or floor ~= c.floor
  c.floor = floor
end

-- Counts of evictions and removals, after which Redis may have no trace of a channel.
local taken

local function countTaken()
  local info = call('INFO', 'stats', 'commandstats')
  local counts = { string.match(info, 'evicted_keys:(%d+)') or '' }
  for _, name in ipairs({ 'flushall', 'flushdb', 'del' }) do
    counts[#counts + 1] = string.match(info, 'cmdstat_' .. name .. ':calls=(%d+)') or ''
  end
  return table.concat(counts, ',')
end

-- The epoch of a channel without keys: the same for all nodes, although nothing is written. It changes with the data set's
-- identity, with removed keys, and with time, since a channel may have begun and expired meanwhile. When the channel
-- begins, the last two are recorded as ended at 0: a reader that has one of them has missed nothing.
local function provisional(keys, turnsAgo)
  taken = taken or countTaken()
  local turn = math.floor(now / PROVISIONAL) - turnsAgo
  local seed = table.concat({ master, taken, int(turn), keys[1] }, ' ')
  return 'p' .. string.sub(redis.sha1hex(seed), 1, 15)
end

-- The highest offset that the stream ever had.
local function lastOffset(c)
  local info = call('XINFO', 'STREAM', c.keys[2])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '^%d+')) end
  end
end

-- Opens a channel. `name` is the random name of the epoch that may begin, `keep` the channel's retention. Returns:
--   head, time, sum: those of the newest event; base: the head without the events that this script adds
--   floor; least: the minimum of the floor; moved: the floor differs from the stored one
--   begun: its epoch is new; made: keys were created, and do not expire yet
--   absent: it has no keys; partial: keys are missing
--   over: it has ended; erasures: the number of erasures
local function open(keys, name, keep)
  local c = { keys = keys, name = name, keep = keep, now = now, replid = master, entries = {}, least = 0 }
  local there = call('EXISTS', unpack(keys))
  local m = there > 0 and call('HMGET', keys[1], 'r', 'e', 'g', 'h', 't', 'u', 'f', 'ft', 'fu', 'o', 'z') or {}
  c.over, c.erasures = m[10] == '1', tonumber(m[11] or 0)
  c.partial, c.absent = there < 4, there == 0
  if m[1] then
    c.epoch, c.ended = m[2], m[3]
    c.head, c.time, c.sum, c.floor = tonumber(m[4]), tonumber(m[5]), tonumber(m[6]), tonumber(m[7])
    c.base = c.head
    if m[8] ~= '' then c.entries[c.floor + 1] = { time = tonumber(m[8]), sum = tonumber(m[9]) } end
    if there < 4 and call('EXISTS', keys[2]) == 0 then
      lose(c)
    elseif there < 4 or m[1] ~= c.replid then
      begin(c)
    end
  else
    -- The channel is new, or its hash is lost: the old epochs are unknown, so none of their events is readable.
    c.epoch, c.ended, c.begun = name, '', true
    c.head, c.time, c.sum = 0, 0, 0
    if there > 0 and call('EXISTS', keys[2]) == 1 then
      c.head = lastOffset(c)
      local last = call('XREVRANGE', keys[2], '+', '-', 'COUNT', 1)[1]
      local head = last and string.sub(last[2][2], 1, 128) or ''
      local time, flags = string.match(head, '^1 %w+ %d+ (%d+) %d+ %d+ (%d+) ')
      c.time, c.over = tonumber(time or c.now), flags == END
    end
    if c.absent then c.ended = provisional(keys, 1) .. ':0 ' .. provisional(keys, 0) .. ':0' end
    c.base, c.floor = c.head, c.head
  end
  advance(c)
  return c
end

local function window(c)
  return math.floor(c.now / WINDOW)
end

-- The hash of the idempotency keys of a window.
local function index(c, number)
  return c.keys[3 + number % 2]
end

-- Begins a window: empties its hash. The caller sets the expiry.
local function beginWindow(c, number)
  call('UNLINK', index(c, number))
  call('HSET', index(c, number), ' ', number)
end

-- Whether that hash still belongs to an earlier window.
local function isOfEarlier(c, number)
  return tonumber(call('HGET', index(c, number), ' ')) ~= number
end

-- Whether the channel's slot is migrating: then Redis answers with an error when a key is missing.
local function moving(c)
  return SHARDED and type(redis.pcall('EXISTS', c.keys[1] .. '?')) == 'table'
end

-- The epoch of the event at `offset`, and the last offset that has it.
local function epochAt(c, offset)
  for name, last in string.gmatch(c.ended, '(%w+):(%d+)') do
    last = tonumber(last)
    if offset <= last then return name, last end
  end
  return c.epoch, c.head
end

-- Removes at most `most` entries below the floor. It removes whole nodes of the stream, so up to 4 KiB or one event remain.
local function trim(c, most)
  call('XTRIM', c.keys[2], 'MINID', '~', int(c.floor + 1), 'LIMIT', most)
end

-- Writes the channel's changes, after its events were added to the stream. The caller calls `refresh` next.
local function save(c)
  if (c.moved or c.begun) and not c.absent then trim(c, 1000) end
  call('HSET', c.keys[1], 'h', c.head, 't', c.time, 'u', c.sum)
  if c.begun then
    call('HSET', c.keys[1], 'r', c.replid, 'e', c.epoch, 'g', c.ended, 'o', c.over and 1 or '')
  end
  if c.begun or c.moved or c.base == c.floor then
    local next = entry(c, c.floor + 1) or { time = '', sum = '' }
    call('HSET', c.keys[1], 'f', c.floor, 'ft', next.time, 'fu', next.sum)
  end
  if c.partial then
    if call('EXISTS', c.keys[2]) == 0 then
      call('XADD', c.keys[2], int(c.head) .. '-1', '', '')
      call('XTRIM', c.keys[2], 'MAXLEN', 0)
    end
    local now = window(c)
    for number = now - 1, now do beginWindow(c, number) end
    c.made = true
  end
end

-- Extends the life of the keys. They all expire at the same time.
local function refresh(c)
  local ttl = c.head > 0 and c.keep.kept or math.min(IDLE, c.keep.kept)
  if not c.made and call('PTTL', c.keys[1]) >= ttl / 2 then return end
  endure(c.keys, 1, c.now + ttl)
end

-- Notifies all nodes, which have events in memory, that something was erased.
local function tellErased(c, feed)
  c.erasures = c.erasures + 1
  call('HSET', c.keys[1], 'z', c.erasures)
  call(PUBLISH, feed, '!' .. c.erasures)
  note(c.keys[1])
end
