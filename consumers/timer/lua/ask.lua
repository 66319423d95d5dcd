-- ask asks for a run of a job. One that rests after a failure doesn't rest any longer.
--
-- KEYS  1 lease, 2 job

redis.call('HINCRBY', KEYS[2], 'asked', 1)
if redis.call('GET', KEYS[1]) == 'rests' then redis.call('DEL', KEYS[1]) end
return 1
