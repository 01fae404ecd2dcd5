-- Appends events to channels: atomically in each channel, independently of the other channels. KEYS: four for each channel.
-- ARGV: random epoch name; then for each channel its pub/sub channel, its retention, the number of events (if the append
-- requires a head, followed by a space and that head, or "none": see isAtHead in history.ts), and for each event
-- "<flags> <type> <idempotency key>" (the last two may be empty) and its data.
-- Returns a line for each channel: epoch, time and offset of the first new event, then for each duplicate its index among
-- the channel's events, from 0, and epoch, offset and time of the first result. If nothing was appended, the line is
-- "-<error>", or "!ended <head>" if the channel has ended, or "!moved <head>" if its head is not the required one.

local MESSAGE = 256 * 1024

-- The same as isAtHead in history.ts.
local function isAtHead(c, ifHead)
  if ifHead == 'none' then return c.base == c.floor and c.base == tonumber(string.match(c.ended, '%d+$') or 0) end
  if ifHead == c.epoch .. '-' .. int(c.base) then return true end
  local unbegun = c.base == 0 and string.match(ifHead, '^(%w+)-0$')
  return unbegun and string.find(' ' .. c.ended .. ' ', ' ' .. unbegun .. ':0 ', 1, true)
end

-- Why nothing can be appended; nil if it can.
local function refusal(c, ifHead)
  local word = c.over and '!ended ' or ifHead and not isAtHead(c, ifHead) and '!moved '
  if not word then return nil end
  if c.absent then return word .. provisional(c.keys, 0) .. '-0' end
  -- An epoch that a client sees must be saved.
  if c.begun then
    save(c)
    refresh(c)
  end
  return word .. c.epoch .. '-' .. int(c.base)
end

-- The arguments `from` to `upto` are the events.
local function append(keys, feed, keep, ifHead, from, upto)
  local c = open(keys, ARGV[1], keep)
  local now = window(c)
  local looked, current, previous

  -- The first result of an idempotency key, "epoch offset time"; nil if the key is unknown.
  local function known(key)
    if c.partial then return nil end
    if not looked then
      looked = true
      current = not isOfEarlier(c, now)
      previous = not isOfEarlier(c, now - 1)
    end
    local first = current and call('HGET', index(c, now), key) or previous and call('HGET', index(c, now - 1), key)
    return first and tonumber(string.match(first, '%d+$')) + WINDOW >= c.now and first or nil
  end

  -- Separates new events from duplicates, whose key an earlier call or an earlier event of this call had.
  local new, repeats, own = {}, {}, {}
  for i = from, upto, 2 do
    local flags, kind, key = string.match(ARGV[i], '^(%d) (%S*) (%S*)$')
    local first = key ~= '' and (own[key] or known(key))
    if first then
      repeats[#repeats + 1] = { at = (i - from) / 2, first = first }
    else
      new[#new + 1] = { flags = flags, kind = kind, key = key, data = ARGV[i + 1] }
      if key ~= '' then own[key] = #new end
    end
  end

  if #new > 0 and (ifHead or c.over) then
    local why = refusal(c, ifHead)
    if why then return why end
  end

  local before = { time = c.time, sum = c.sum, floor = c.floor }

  local function plan()
    c.head, c.sum = c.base + #new, before.sum
    c.time = math.max(before.time, c.now)
    for i, event in ipairs(new) do
      c.entries[c.base + i] = { time = c.time, sum = c.sum }
      c.sum = c.sum + #event.data
    end
    advance(c)
  end

  local function record(i)
    local event = new[i]
    local offset = c.base + i
    return '1 ' .. c.epoch .. ' ' .. int(offset) .. ' ' .. c.time .. ' ' .. int(c.entries[offset].sum) .. ' ' ..
      #event.data .. ' ' .. event.flags .. ' ' .. event.kind .. '\n' .. event.data
  end

  local function add(i, text)
    return redis.pcall('XADD', c.keys[2], c.base + i, '', text)
  end

  local function result(i)
    return c.epoch .. ' ' .. int(c.base + i) .. ' ' .. c.time
  end

  -- The bytes of data that were appended before the stream's oldest entry.
  local function sumOfOldest()
    local oldest = call('XRANGE', c.keys[2], '-', '+', 'COUNT', 1)[1]
    local sum = oldest and string.match(string.sub(oldest[2][2], 1, 128), '^1 %w+ %d+ %d+ (%d+) ')
    return tonumber(sum or before.sum)
  end

  -- Redis is out of memory: drops what is no longer retained, without the new events. Returns whether that made room for them.
  local function relieve()
    if c.absent then return false end
    c.head, c.sum, c.time, c.floor = c.base, before.sum, before.time, before.floor
    for i = 1, #new do c.entries[c.base + i] = nil end
    local sum = sumOfOldest()
    trim(c, 10000)
    c.moved = true
    save(c)
    for number = now - 1, now do
      if not c.made and not moving(c) and isOfEarlier(c, number) then
        beginWindow(c, number)
        c.remade = true
      end
    end
    c.made, looked = c.made or c.remade, false
    refresh(c)
    local needed = 0
    for _, event in ipairs(new) do needed = needed + #event.data end
    return sumOfOldest() - sum > needed
  end

  if #new > 0 then
    plan()
    local text = record(1)
    local added = add(1, text)
    if added.err and string.find(added.err, '^OOM') and relieve() then
      plan()
      text = record(1)
      added = add(1, text)
    end
    if added.err and string.find(added.err, 'equal or smaller', 1, true) then
      -- The stream is ahead of the hash.
      c.base = lastOffset(c)
      lose(c)
      plan()
      text = record(1)
      added = add(1, text)
    end
    if added.err then error(added) end
    local messages, size = { { text } }, #text
    for i = 2, #new do
      text = record(i)
      added = add(i, text)
      if added.err then error(added) end
      if size + #text > MESSAGE then
        messages[#messages + 1] = {}
        size = 0
      end
      size = size + #text
      table.insert(messages[#messages], text)
    end
    save(c)
    if new[#new].flags == END then call('HSET', c.keys[1], 'o', 1) end
    for i, event in ipairs(new) do
      if event.key ~= '' then
        if not (current or c.partial) then
          -- While the slot is migrating, a removed key could not be created again. Expired results are recognized by their time.
          if not moving(c) then call('UNLINK', index(c, now)) end
          call('HSET', index(c, now), ' ', now)
          current, c.made = true, true
        end
        call('HSET', index(c, now), event.key, result(i))
      end
    end
    refresh(c)
    for _, texts in ipairs(messages) do call(PUBLISH, feed, table.concat(texts)) end
    note(c.keys[1])
  elseif c.begun then
    save(c)
    refresh(c)
  end

  local answer = { c.epoch .. ' ' .. int(c.time) .. ' ' .. int(c.base + 1) }
  for _, each in ipairs(repeats) do
    answer[#answer + 1] = int(each.at) .. ' ' .. (type(each.first) == 'number' and result(each.first) or each.first)
  end
  return table.concat(answer, ' ')
end

local lines, at = {}, 2
for i = 1, #KEYS, 4 do
  local answered = APPENDED[(i + 3) / 4]
  local keys = { KEYS[i], KEYS[i + 1], KEYS[i + 2], KEYS[i + 3] }
  local feed, keep, count, ifHead = ARGV[at], retention(ARGV[at + 1]), tonumber(ARGV[at + 2]), nil
  if not count then
    count, ifHead = string.match(ARGV[at + 2], '^(%d+) (%S+)$')
    count = tonumber(count)
  end
  local done, answer = true, answered
  if not answered then done, answer = pcall(append, keys, feed, keep, ifHead, at + 3, at + 2 + 2 * count) end
  if not done then answer = '-' .. string.gsub(type(answer) == 'table' and answer.err or answer, '%s+', ' ') end
  lines[#lines + 1] = answer
  at = at + 3 + 2 * count
end
return table.concat(lines, '\n')
