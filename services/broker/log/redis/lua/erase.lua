-- Erases the data and the tags of one event. KEYS: the channel's, and one for a copy of the stream. ARGV: random epoch
-- name, retention, pub/sub channel, epoch and offset of the event. Returns 1 if the event is erased, 0 if it does not
-- exist, and 2 if the call has to be repeated.
--
-- A stream only marks an entry as deleted and keeps its bytes. So the stream is copied without the event's data, a part in
-- each call, since a script blocks Redis. The field k of the channel's hash is the offset of the erased event. A call that
-- finds a copy in progress finishes it first: two copies at a time would each restore what the other omits.

local PART = 500
local COPY_KEPT = 60000

local c = open({ KEYS[1], KEYS[2], KEYS[3], KEYS[4] }, ARGV[1], retention(ARGV[2]))
local copy, feed, epoch, offset = KEYS[5], ARGV[3], ARGV[4], tonumber(ARGV[5])
if c.absent then return 0 end
if c.begun or c.moved then save(c) end
if offset <= c.floor or offset > c.head or epochAt(c, offset) ~= epoch then return 0 end

-- Returns a record's epoch and flags, and the record without its data.
local function parse(record)
  local head = string.match(record, '^[^\n]*')
  local own, at, time, sum, flags, kind = string.match(head, '^1 (%w+) (%d+) (%d+) (%d+) %d+ (%d+) (%S*)$')
  if not own then return end
  local erased = table.concat({ '1', own, at, time, sum, '4', '16', string.match(kind, '^[^|]*') }, ' ') .. '\nnull'
  return own, tonumber(flags), erased
end

local found = call('XRANGE', c.keys[2], int(offset), int(offset), 'COUNT', 1)[1]
local own, flags = parse(found and found[2][2] or '')
if own ~= epoch then return 0 end
if flags >= 8 then return 1 end

local at, leaves = c.floor, tonumber(call('HGET', c.keys[1], 'k') or '')
local last = leaves and call('XREVRANGE', copy, '+', '-', 'COUNT', 1)[1]
if last then
  at = tonumber(string.match(last[1], '^%d+'))
else
  leaves = offset
  call('UNLINK', copy)
  call('HSET', c.keys[1], 'k', int(offset))
end

for _ = 1, PART / 100 do
  local some = call('XRANGE', c.keys[2], int(at + 1), '+', 'COUNT', 100)
  for _, each in ipairs(some) do
    at = tonumber(string.match(each[1], '^%d+'))
    call('XADD', copy, each[1], '', at == leaves and select(3, parse(each[2][2])) or each[2][2])
  end
  if #some < 100 then
    call('XTRIM', copy, 'MINID', int(c.floor + 1))
    call('RENAME', copy, c.keys[2])
    call('HDEL', c.keys[1], 'k')
    c.made = true
    refresh(c)
    tellErased(c, feed)
    return leaves == offset and 1 or 2
  end
end
call('PEXPIRE', copy, COPY_KEPT)
return 2
