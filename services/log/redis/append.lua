-- Appends events to one channel, together. KEYS: the channel's. ARGV: random epoch name, pub/sub channel, then
-- for each event "<flags> <type> <idempotency key>" (the last two may be empty) and its data.
-- Returns epoch, time and offset of the first new event, then for each repeat its place in the call, from 0, and
-- "epoch offset time" of the first result.

local MESSAGE = 256 * 1024

local c = open(KEYS, ARGV[1])
local now = window(c)
local looked, current, previous

-- What an idempotency key gave: "epoch offset time", or nil.
local function known(key)
  if c.partial then return nil end
  if not looked then
    looked = true
    current = tonumber(call('HGET', index(c, now), ' ')) == now
    previous = tonumber(call('HGET', index(c, now - 1), ' ')) == now - 1
  end
  local first = current and call('HGET', index(c, now), key) or previous and call('HGET', index(c, now - 1), key)
  return first and tonumber(string.match(first, '%d+$')) + WINDOW >= c.now and first or nil
end

-- What is new, and what repeats: an earlier call, or an earlier event of this one.
local new, repeats, own = {}, {}, {}
for i = 3, #ARGV, 2 do
  local flags, kind, key = string.match(ARGV[i], '^(%d) (%S*) (%S*)$')
  local first = key ~= '' and (own[key] or known(key))
  if first then
    repeats[#repeats + 1] = { at = (i - 3) / 2, first = first }
  else
    new[#new + 1] = { flags = flags, kind = kind, key = key, data = ARGV[i + 1] }
    if key ~= '' then own[key] = #new end
  end
end

local before = { time = c.time, sum = c.sum }

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

if #new > 0 then
  plan()
  local text = record(1)
  local added = add(1, text)
  if added.err and string.find(added.err, 'equal or smaller', 1, true) then
    -- The stream is ahead of the hash.
    c.base = lastOffset(c)
    lose(c)
    plan()
    text = record(1)
    added = add(1, text)
  end
  if added.err then return added end
  local messages, size = { { text } }, #text
  for i = 2, #new do
    text = record(i)
    added = add(i, text)
    if added.err then return added end
    if size + #text > MESSAGE then
      messages[#messages + 1] = {}
      size = 0
    end
    size = size + #text
    table.insert(messages[#messages], text)
  end
  save(c)
  for i, event in ipairs(new) do
    if event.key ~= '' then
      if not (current or c.partial) then
        call('UNLINK', index(c, now))
        call('HSET', index(c, now), ' ', now)
        current, c.made = true, true
      end
      call('HSET', index(c, now), event.key, result(i))
    end
  end
  refresh(c)
  for _, texts in ipairs(messages) do call('PUBLISH', ARGV[2], table.concat(texts)) end
elseif c.begun then
  save(c)
  refresh(c)
end

local reply = { c.epoch, c.time, c.base + 1 }
for _, each in ipairs(repeats) do
  reply[#reply + 1] = each.at
  reply[#reply + 1] = type(each.first) == 'number' and result(each.first) or each.first
end
return reply
