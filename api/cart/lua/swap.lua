-- swap changes a shard's generation key only if it still holds what the caller saw. Recovery alone runs it, by EVAL: it
-- is what no fence may stop.
--
-- KEYS  1 generation
-- ARGV  1 what it holds, "" for nothing, 2 what it shall hold
-- returns 1 where it did

if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
