-- remind looks at the carts that were idle for longest. One that holds lines, and whose user's own last change is long
-- enough ago, is marked, and its reminder goes into the outbox. Each cart that is looked at leaves the index until its user
-- changes it again.
--
-- KEYS  1 generation, 2 idle index, 3 outbox
-- ARGV  1 the latest that a change may have been to be reminded of (ms), 2 most carts, 3 width of the index's windows (ms),
--       4 now (ms), 5 traceparent
-- returns "ok <looked at> <reminded of>" or "fenced"

local before, window = tonumber(ARGV[1]), tonumber(ARGV[3])
now, width = ARGV[4], window
local users = call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', before - window), 'LIMIT', 0, ARGV[2])
local reminded = 0
for _, idle in ipairs(users) do
  user, cart = idle, tag .. 'c:' .. idle
  local stored = call('HMGET', cart, '*', '=')
  call('ZREM', KEYS[2], user)
  if stored[1] and load(stored[1]) and version > 0 and own ~= 'r' then
    local last = own == '-' and epoch .. ' ' .. version .. ' ' .. updated or stored[2]
    local at = tonumber(string.match(last, '%d+$'))
    if at > before then
      index('i', window, at)
    elseif lines > 0 then
      call('XADD', KEYS[3], G .. '-*', 'reminder', user .. ' ' .. ARGV[5] .. ' ' .. last .. ' ' .. now)
      call('HSET', cart, '*', string.sub(stored[1], 1, -2) .. 'r', '=', last)
      reminded = reminded + 1
    end
  end
end
return 'ok ' .. #users .. ' ' .. reminded
