-- walks returns what waits in the queue of walks: {refresh or "", book, …}, or "fenced". It changes nothing. Of a shard
-- that has not got its carts back nothing waits yet.
--
-- KEYS  1 generation, 2 queue of walks
-- ARGV  1 most books

local state = redis.call('GET', KEYS[1])
if state ~= READY and state ~= LOST then return 'fenced' end
if state == LOST then return {''} end
local found = redis.call('HRANDFIELD', KEYS[2], ARGV[1])
for i, book in ipairs(found) do
  if book == '*' then
    table.remove(found, i)
    break
  end
end
table.insert(found, 1, redis.call('HGET', KEYS[2], '*') or '')
return found
