-- opened notes what a shard is opened with, the last step but one of a recovery, which alone runs it, by EVAL.
--
-- KEYS  1 generation, 2 offset that the shard is known to hold, 3 the server's replication id
-- ARGV  1 what the generation must hold, 2 offset or "" to leave it, 3 replication id
-- returns 1, or 0 where the generation holds something else

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end
redis.call('SET', KEYS[3], ARGV[3])
return 1
