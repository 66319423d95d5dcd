-- renew keeps a job's lease.
--
-- KEYS  1 lease
-- ARGV  1 token, 2 time to live (ms)
-- returns 1, or 0 where the lease isn't the token's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
