-- settle ends a run and its lease. What a run that lost its lease brings is not recorded.
--
-- KEYS  1 lease, 2 job
-- ARGV  1 token, 2 "done", "failed" or "released", 3 now (ms), 4 slot (ms), 5 runs asked for when it began, 6 time that it
--       took (ms), 7 items, 8 failure, 9 rest (ms)
-- returns 1, or 0 where the lease isn't the token's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  -- the answer to an earlier call was lost
  return redis.call('HGET', KEYS[2], 'settled') == ARGV[1] and 1 or 0
end
redis.call('HSET', KEYS[2], 'settled', ARGV[1])
redis.call('DEL', KEYS[1])
if ARGV[2] == 'failed' then
  redis.call('HSET', KEYS[2], 'failed', ARGV[3], 'failure', ARGV[8])
  redis.call('SET', KEYS[1], 'rests', 'PX', ARGV[9])
elseif ARGV[2] == 'done' then
  redis.call('HSET', KEYS[2], 'finished', ARGV[3], 'took', ARGV[6], 'items', ARGV[7])
  for field, value in pairs({slot = ARGV[4], answered = ARGV[5]}) do
    if tonumber(redis.call('HGET', KEYS[2], field) or -1) < tonumber(value) then redis.call('HSET', KEYS[2], field, value) end
  end
end
return 1
