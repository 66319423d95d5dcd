-- adopt makes the cart what MongoDB holds of it, as its next version, where the shard holds what the caller saw: an older
-- cart, or none.
--
-- KEYS  1 generation, 2 cart, 3 outbox
-- ARGV  1 user, 2 "<traceparent> - -", 3 now (ms), 4 "<epoch> <version>" that the caller saw, "" for no cart,
--       5 version in MongoDB, 6 "<amount> <quantity> <lines>", 7 own (see cart.lua), 8 width of the idle index's windows
--       (ms), then book, line, …
-- returns "ok", "restore", "fenced", or "other" where the shard holds something else

user, cart, meta, now = ARGV[1], KEYS[2], ARGV[2], ARGV[3]
local stored = call('HGETALL', cart)
local head
for i = 1, #stored, 2 do
  if stored[i] == '*' then head = stored[i + 1] end
end
if not load(head) then return 'restore' end
if (version > 0 and epoch .. ' ' .. version or '') ~= ARGV[4] then return 'other' end

-- The keys of indexes were not declared: see commit. An entry too much in one of them is harmless.
local there, items = {}, {}
for i = 9, #ARGV, 2 do
  local book = ARGV[i]
  there[book] = true
  items[#items + 1] = '\30' .. book .. ' ' .. ARGV[i + 1]
  call('ZADD', tag .. 'u:' .. book, 0, user)
  call('ZADD', tag .. 'b', 0, book)
  call('HSET', tag .. 'w', book, '')
end
if version == 0 then -- the copy's last change stands for the user's own
  index('i', tonumber(ARGV[8]), tonumber(string.match(ARGV[7], '%d+$')))
  call('HSET', cart, '=', ARGV[7])
end
local a, q, l = string.match(ARGV[6], '^(%d+) (%d+) (%d+)$')
amount, quantity, lines, seq = tonumber(a), tonumber(q), tonumber(l), #items + 1
commit('restored', '1', table.concat(items), nil, nil, tonumber(ARGV[5]))
for i = 9, #ARGV, 2 do call('HSET', cart, ARGV[i], ARGV[i + 1]) end
for i = 1, #stored, 2 do
  local book = stored[i]
  if not there[book] and not string.find(book, '^[*+=]$') then
    call('HDEL', cart, book)
    call('ZREM', tag .. 'u:' .. book, user)
  end
end
return 'ok'
