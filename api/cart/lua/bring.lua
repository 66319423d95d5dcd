-- bring makes carts what Kafka has of them, under their own epoch and version, and emits nothing. Recovery alone runs it,
-- by EVAL, while nothing serves the shard.
--
-- KEYS  1 generation
-- ARGV  1 what the generation must hold, 2 window of the changed carts (ms), then for each cart: user, window of the idle
--       index (ms) or "", number of arguments about kept answers, of fields that go, of fields and values, number of these
--       that are no lines, then each of them: hash, value and time to live (ms) of each answer; fields; fields and values
-- returns 1, or 0 where the generation holds something else

if call('GET', KEYS[1]) ~= argv[1] then return 0 end
local changed, carts, at = {}, {}, 3
while at <= #argv do
  local user, answers = argv[at], at + 6
  local gone = answers + tonumber(argv[at + 2])
  local first = gone + tonumber(argv[at + 3])
  local last = first + tonumber(argv[at + 4]) - 1
  for i = answers, gone - 1, 3 do call('SET', tag .. 'k:' .. argv[i], argv[i + 1], 'PX', argv[i + 2], 'NX') end
  rest(argv[at + 1], user)
  changed[#changed + 1], changed[#changed + 2] = argv[2], user
  for i = first + tonumber(argv[at + 5]), last, 2 do hold(argv[i], user) end
  carts[#carts + 1] = {user, gone, first, last}
  at = last + 1
end
index()
many('ZADD', tag .. 'd', changed, 1, #changed)
for _, c in ipairs(carts) do
  local user, gone, first, last = unpack(c)
  local cart = tag .. 'c:' .. user
  for i = gone, first - 1 do
    call('HDEL', cart, argv[i])
    if argv[i] ~= '=' then call('ZREM', tag .. 'u:' .. argv[i], user) end
  end
  many('HSET', cart, argv, first, last)
end
return 1
