-- bring makes a cart what Kafka has of it, under its own epoch and version, and emits nothing. Recovery alone runs it, by
-- EVAL, while nothing serves the shard. The other keys are not declared; they share the tag.
--
-- KEYS  1 generation, 2 cart
-- ARGV  1 what the generation must hold, 2 user, 3 head, 4 own or "" (see cart.lua), 5 window of the idle index or "",
--       6 window of the changed carts, 7 number of kept answers, then for each its hash, value and time to live (ms), then
--       book, line, …
-- returns 1, or 0 where the generation holds something else

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local tag, cart, user, there = string.sub(KEYS[1], 1, -2), KEYS[2], ARGV[2], {}
local lines = 8 + 3 * tonumber(ARGV[7])
for i = 8, lines - 1, 3 do
  redis.call('SET', tag .. 'k:' .. ARGV[i], ARGV[i + 1], 'PX', ARGV[i + 2], 'NX')
end
for i = lines, #ARGV, 2 do
  local book = ARGV[i]
  there[book] = true
  redis.call('HSET', cart, book, ARGV[i + 1])
  redis.call('ZADD', tag .. 'u:' .. book, 0, user)
  redis.call('ZADD', tag .. 'b', 0, book)
  redis.call('HSET', tag .. 'w', book, '')
end
for _, book in ipairs(redis.call('HKEYS', cart)) do
  if not there[book] and not string.find(book, '^[*+=]$') then
    redis.call('HDEL', cart, book)
    redis.call('ZREM', tag .. 'u:' .. book, user)
  end
end
redis.call('HSET', cart, '*', ARGV[3])
if ARGV[4] == '' then
  redis.call('HDEL', cart, '=')
else
  redis.call('HSET', cart, '=', ARGV[4])
end
if ARGV[5] ~= '' then redis.call('ZADD', tag .. 'i', ARGV[5], user) end
redis.call('ZADD', tag .. 'd', ARGV[6], user)
return 1
