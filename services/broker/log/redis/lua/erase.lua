-- Erases the data and the tags of one event. KEYS: the channel's, and one for a while. ARGV: random epoch name, retention,
-- pub/sub channel, epoch and offset of the event. Returns 1 where the event is there without its data now, else 0.
--
-- A stream only marks an entry as deleted, and goes on holding its bytes: so what is kept of it is written anew.

local c = open({ KEYS[1], KEYS[2], KEYS[3], KEYS[4] }, ARGV[1], retention(ARGV[2]))
local copy, feed, epoch, offset = KEYS[5], ARGV[3], ARGV[4], tonumber(ARGV[5])
if c.absent then return 0 end
if c.begun or c.moved then save(c) end
if offset <= c.floor or offset > c.head or epochAt(c, offset) ~= epoch then return 0 end

local found = call('XRANGE', c.keys[2], int(offset), int(offset), 'COUNT', 1)[1]
local head = found and string.match(found[2][2], '^[^\n]*') or ''
local own, time, sum, flags, kind = string.match(head, '^1 (%w+) %d+ (%d+) (%d+) %d+ (%d+) (%S*)$')
if own ~= epoch then return 0 end
if tonumber(flags) >= 8 then return 1 end
local erased = table.concat({ '1', epoch, int(offset), time, sum, '4', '16', string.match(kind, '^[^|]*') }, ' ')

call('UNLINK', copy)
local at = c.floor + 1
repeat
  local some = call('XRANGE', c.keys[2], int(at), '+', 'COUNT', 100)
  for _, each in ipairs(some) do
    at = tonumber(string.match(each[1], '^%d+'))
    call('XADD', copy, each[1], '', at == offset and erased .. '\nnull' or each[2][2])
  end
  at = at + 1
until #some < 100
call('RENAME', copy, c.keys[2])
c.made = true
refresh(c)
tellErased(c, feed)
return 1
