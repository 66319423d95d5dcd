-- restore brings back a cart of a shard that lost its data, under its own epoch and version, and emits nothing. A cart
-- that is there already stays as it is. Nothing to restore leaves an empty head, which says so.
--
-- KEYS  1 generation, 2 cart
-- ARGV  1 generation that the caller works under, 2 user, 3 begin of the keys of books' users, 4 head, then book, line, …
-- returns "ok", "fenced", or "overtaken" where the generation is another

local state = redis.call('GET', KEYS[1])
if state ~= READY and state ~= LOST then return 'fenced' end
if string.sub(state, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return 'overtaken' end
if redis.call('EXISTS', KEYS[2]) == 1 then return 'ok' end
redis.call('HSET', KEYS[2], '*', ARGV[4])
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', ARGV[3] .. ARGV[i], 0, ARGV[2])
end
return 'ok'
