-- lead takes, keeps or ends a node's recovery lease. Recovery alone runs it, by EVAL.
--
-- KEYS  1 lease
-- ARGV  1 instance, 2 time to live (ms), 0 to end it
-- returns 1 where the lease is, or was, the instance's; 0 where it is another's, which stays as it is

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
