-- Leases of nodes on their members. KEYS: the leases, sorted by the time of their last renewal; the channels of one lease.
-- ARGV: the operation, the lease, then the operation's arguments.

local leases, channels = KEYS[1], KEYS[2]
local op, lease = ARGV[1], ARGV[2]
local DAY = 86400000

local function forget()
  local renewed = call('ZSCORE', leases, lease)
  if renewed and tonumber(renewed) + LEASE <= now and call('SCARD', channels) == 0 then
    call('ZREM', leases, lease)
  end
end

if op == 'renew' then
  -- If nobody renewed for that long, the store was unavailable: all leases are extended once. Leases that `end` has extended
  -- into the future do not show that it was available.
  local past = call('ZRANGEBYSCORE', leases, '-inf', int(now), 'WITHSCORES')
  local newest = past[#past]
  if newest and tonumber(newest) < now - OUTAGE then
    for i = 1, #past, 2 do call('ZADD', leases, now, past[i]) end
  end
  local renewed = call('ZSCORE', leases, lease)
  local held = renewed and tonumber(renewed) + LEASE > now or ARGV[3] == '1'
  if held then
    call('ZADD', leases, now, lease)
    call('PEXPIRE', leases, DAY)
    call('PEXPIRE', channels, DAY)
  end
  local since = now - LEASE
  return {
    held and 1 or 0,
    int(now),
    call('ZRANGEBYSCORE', leases, '(' .. int(since), '+inf'),
    call('ZRANGEBYSCORE', leases, '-inf', int(since)),
  }
elseif op == 'end' then
  call('ZADD', leases, 'XX', now - LEASE + tonumber(ARGV[3]), lease)
elseif op == 'attach' then
  call('ZADD', leases, 'NX', now, lease)
  call('SADD', channels, ARGV[3])
  call('PEXPIRE', leases, DAY)
  call('PEXPIRE', channels, DAY)
elseif op == 'detach' then
  for i = 3, #ARGV do call('SREM', channels, ARGV[i]) end
  forget()
elseif op == 'attached' then
  forget()
  return call('SRANDMEMBER', channels, ARGV[3])
end
return 1
