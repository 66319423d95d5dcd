-- take begins a run of a job.
--
-- KEYS  1 lease, 2 job
-- ARGV  1 token, 2 time to live (ms), 3 slot (ms), 4 instance, 5 now (ms)
-- returns the number of runs asked for, or -1 where the lease isn't free or nothing is left to do

if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
local known = redis.call('HMGET', KEYS[2], 'slot', 'asked', 'answered')
local slot, asked, answered = tonumber(known[1] or -1), tonumber(known[2] or 0), tonumber(known[3] or 0)
if slot >= tonumber(ARGV[3]) and answered >= asked then return -1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[2], 'instance', ARGV[4], 'started', ARGV[5])
return asked
