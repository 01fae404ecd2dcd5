-- Reads the events after a position of one channel. KEYS: the channel's. ARGV: random epoch name; retention; the position:
-- epoch and offset, or "<" for the oldest readable event, ">" for the head, "-" and the number of newest events, or "@" and
-- the time of the first event; the maximum number of events, and of bytes; "1" if keys may be created.
-- Returns epoch, ended epochs, head, floor, "<keys> <ended> <erasures>" (keys: "there", "made" or "absent"; ended: 0 or 1),
-- then the records after the place that place() of history.ts finds.

local c = open(KEYS, ARGV[1], retention(ARGV[2]))
local epoch, offset = ARGV[3], tonumber(ARGV[4])
local maxEvents, maxBytes = tonumber(ARGV[5]), tonumber(ARGV[6])

-- Just before the first event at the time `ms` or later.
local function since(ms)
  if c.time < ms then return c.head end
  return least(c.floor, c.head, function(floor)
    local following = floor < c.head and entry(c, floor + 1)
    return not following or following.time >= ms
  end)
end

-- The same as place() in history.ts.
local function place()
  if epoch == '<' then return c.floor end
  if epoch == '>' then return c.head end
  if epoch == '-' then return math.max(c.floor, c.head - offset - (c.over and 1 or 0)) end
  if epoch == '@' then return since(offset) end
  local begins = 0
  for name, last in string.gmatch(c.ended, '(%w+):(%d+)') do
    last = tonumber(last)
    if name == epoch then
      if offset >= last then return math.max(last, c.floor) end
      return offset < math.max(begins, c.floor) and c.floor or offset
    end
    begins = last
  end
  if epoch ~= c.epoch then return c.floor end
  if offset > c.head then return c.head end
  return offset < math.max(begins, c.floor) and c.floor or offset
end

-- The number of events after `start` in the page; nil if the stream has lost one that is needed.
local function fitting(start)
  local count = math.min(maxEvents, c.head - start)
  if count <= 1 then return count end
  local first = entry(c, start + 1)
  if not first then return nil end
  if c.sum - first.sum <= maxBytes then return count end
  local broken = false
  local function full(n)
    if n == count then return true end
    local behind = start + n + 2
    local next = behind > c.head and c or entry(c, behind)
    if not next then broken = true end
    return broken or next.sum - first.sum > maxBytes
  end
  local fits = least(1, count, full)
  return not broken and fits or nil
end

-- The records after `start`; nil if the stream has lost one of them, or if one belongs to another epoch: then also its
-- offset.
local function records(start)
  local count = fitting(start)
  if count == 0 then return {} end
  local found = count and call('XRANGE', c.keys[2], start + 1, '+', 'COUNT', count) or {}
  if #found ~= count then return nil end
  local upto, begins = start, ''
  for i, each in ipairs(found) do
    local offset = start + i
    if each[1] ~= int(offset) .. '-0' then return nil end
    if offset > upto then
      local name
      name, upto = epochAt(c, offset)
      begins = '1 ' .. name .. ' '
    end
    found[i] = each[2][2]
    if string.sub(found[i], 1, #begins) ~= begins then return nil, offset end
  end
  return found
end

local page, stray = records(place())
while stray do
  -- Redis 7.0 leaves an incomplete transaction in an append-only file that was cut. The next start restores the events
  -- that the cut had removed in place of those that were appended meanwhile, which are lost.
  c.least = stray
  advance(c)
  page, stray = records(place())
end
if not page then
  -- Somebody deleted entries: the rest has holes, so all of it counts as lost.
  lose(c)
  advance(c)
  page = {}
end

local state = 'there'
if c.absent then
  state = ARGV[7] == '1' and pcall(save, c) and 'made' or 'absent'
  if state == 'absent' then c.epoch, c.ended = provisional(KEYS, 0), provisional(KEYS, 1) .. ':0' end
elseif c.begun or c.moved then
  -- If Redis refuses writes, the next read finds the same floor, but an epoch that was not saved must not be returned.
  local saved, failure = pcall(save, c)
  if not saved and c.begun then error(failure) end
end
if state ~= 'absent' then refresh(c) end

state = state .. ' ' .. (c.over and 1 or 0) .. ' ' .. c.erasures
local reply = { c.epoch, c.ended, c.head, c.floor, state }
for i, each in ipairs(page) do reply[5 + i] = each end
return reply
