-- Members of one channel. KEYS: the four keys of the log of its joins and leaves; users, order, about, outbox, and the
-- entries of one tag. ARGV: random epoch name, pub/sub channel and retention of that log; the operation, then its
-- arguments. `append` and `read` are append.lua and read.lua.
--   users: user → "<clients> <entries> <since> <who>"        order: the users, sorted by name
--   about: clients, entries, "v:<tag>" → version              entries: user → clients
--   outbox: "<key> <kind> <who>", events for the log of lives

local log = { KEYS[1], KEYS[2], KEYS[3], KEYS[4] }
local users, order, about, outbox, entries = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local name, feed, keep, op = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local ALIVE = 3600000
local PORTION = 500
local OUTBOX = 10000

local function waiting()
  return call('LRANGE', outbox, 0, 999)
end

local function tags()
  local found = {}
  for _, field in ipairs(call('HKEYS', about)) do
    if string.sub(field, 1, 2) == 'v:' then found[#found + 1] = string.sub(field, 3) end
  end
  return found
end

local function number(field)
  return tonumber(call('HGET', about, field) or 0)
end

local clients, held
local known, sets, gone, events, lives = {}, {}, {}, {}, {}

local function userOf(user)
  local found = known[user]
  if found then return found end
  found = { clients = 0, entries = 0, there = false }
  local text = call('HGET', users, user)
  if text then
    local a, b, since, who = string.match(text, '^(%d+) (%d+) (%d+) (.*)$')
    found = { clients = tonumber(a), entries = tonumber(b), since = since, who = who, there = true }
  end
  known[user] = found
  return found
end

local function record(kind, u)
  events[#events + 1] = '0 ' .. kind .. ' '
  events[#events + 1] = '{' .. u.who .. ',"clients":' .. u.clients .. '}'
end

local function live(kind, who)
  lives[#lives + 1] = name .. '.' .. #lives .. ' ' .. kind .. ' ' .. who
end

local function change(user, count, who, updated)
  local had = call('HGET', entries, user)
  if not had and count < 0 then return end
  local more = math.max(count, 0) - tonumber(had or 0)
  local entered = (count < 0 and 0 or 1) - (had and 1 or 0)
  if held == 0 and entered == 1 then live('occupied', '') end
  clients, held = clients + more, held + entered
  if count < 0 then gone[#gone + 1] = user else sets[user] = count end
  if user ~= '' then
    local u = userOf(user)
    u.clients, u.entries, u.changed = u.clients + more, u.entries + entered, true
    if not u.there and u.entries > 0 then
      u.there, u.since, u.who = true, int(now), who
      record('join', u)
      live('joined', who)
    elseif u.there and u.entries <= 0 then
      u.there = false
      record('leave', u)
      live('left', u.who)
    elseif updated and u.who ~= who then
      u.who = who
      record('update', u)
    end
  end
  if held == 0 and entered == -1 then live('vacated', '') end
end

-- Appends to the log first: if Redis refuses that write, nothing has changed.
local function save(tag, version, keepLives)
  if #events > 0 then
    local args = { name, feed, keep, #events / 2 }
    for _, each in ipairs(events) do args[#args + 1] = each end
    local answer = append(log, args)
    if string.sub(answer, 1, 1) == '-' then error({ err = string.sub(answer, 2) }) end
  end
  for user, count in pairs(sets) do call('HSET', entries, user, count) end
  for _, user in ipairs(gone) do call('HDEL', entries, user) end
  for user, u in pairs(known) do
    if u.there and u.changed then
      call('HSET', users, user, u.clients .. ' ' .. u.entries .. ' ' .. u.since .. ' ' .. u.who)
      call('ZADD', order, 0, user)
    elseif u.changed then
      call('HDEL', users, user)
      call('ZREM', order, user)
    end
  end
  if held <= 0 then
    call('UNLINK', about)
  else
    call('HSET', about, 'clients', clients, 'entries', held)
    if call('EXISTS', entries) == 0 then call('HDEL', about, 'v:' .. tag)
    elseif version then call('HSET', about, 'v:' .. tag, version) end
  end
  if keepLives == '1' then
    for _, each in ipairs(lives) do call('RPUSH', outbox, each) end
    if #lives > 0 then call('LTRIM', outbox, -OUTBOX, -1) end
  end
end

local function endure()
  for i = 5, 9 do call('PEXPIRE', KEYS[i], ALIVE) end
end

if op == 'put' then
  local tag, upto, version, keepLives = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]
  if now > upto then return { 'late' } end
  clients, held = number('clients'), number('entries')
  for i = 9, #ARGV, 4 do change(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3] == '1') end
  save(tag, version, keepLives)
  endure()
  return { 'done', waiting() }
elseif op == 'expel' then
  clients, held = number('clients'), number('entries')
  for _, user in ipairs(call('HRANDFIELD', entries, PORTION)) do change(user, -1, '', false) end
  save(ARGV[5], nil, ARGV[6])
  endure()
  return { call('EXISTS', entries), waiting() }
elseif op == 'version' then
  endure()
  return { call('HGET', about, 'v:' .. ARGV[5]), waiting() }
elseif op == 'acknowledge' then
  local first = call('LRANGE', outbox, 0, 999)
  for i, each in ipairs(first) do
    if string.match(each, '^%S+') == ARGV[5] then call('LTRIM', outbox, i, -1) end
  end
  return waiting()
elseif op == 'count' then
  return { call('HLEN', users), number('clients'), tags() }
end

-- page
local after, limit = ARGV[5], tonumber(ARGV[6])
local found = call('ZRANGEBYLEX', order, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
local more = #found > limit and 1 or 0
if more == 1 then found[#found] = nil end
local members = #found > 0 and call('HMGET', users, unpack(found)) or {}
local at = read(log, { name, keep, '>', 0, 0, 0, '1' })
return { call('HLEN', users), number('clients'), tags(), at[1], int(at[3]), more, found[#found] or '', members }
