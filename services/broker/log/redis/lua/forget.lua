-- Removes the expired idempotency keys of a quiet channel. An append does so only with the first key of its window.
-- KEYS: the channel's.

local c = { keys = KEYS, now = now }
local ends = call('HGET', KEYS[1], 'x')
if not ends or moving(c) or call('EXISTS', unpack(KEYS)) < 4 then return end
local current = window(c)
for number = current - 1, current do
  if isOfEarlier(c, number) then
    beginWindow(c, number)
    call('PEXPIREAT', index(c, number), ends)
  end
end
