-- note notes what a shard holds, where it is opened, and that its facts are to be compared with the catalogue. Recovery
-- alone runs it, by EVAL.
--
-- KEYS  1 generation, 2 offset that the shard is known to hold, 3 the server's replication id, 4 queue of walks
-- ARGV  1 what the generation must hold, 2 offset, 3 replication id, 4 name of the refresh; each "" to leave it
-- returns 1, or 0 where the generation holds something else

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end
if ARGV[3] ~= '' then redis.call('SET', KEYS[3], ARGV[3]) end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[4], '*', ARGV[4]) end
return 1
