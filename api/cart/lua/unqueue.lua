-- unqueue drops an entry of the queue of walks, if it still holds what the caller saw.
--
-- KEYS  1 generation, 2 queue of walks, 3 the book's facts, where the entry is to stay if there are any
-- ARGV  1 book, or "*" for the refresh, 2 what it holds, "" for whatever that is
-- returns "ok" or "fenced"

local state = redis.call('GET', KEYS[1])
if state ~= READY and state ~= LOST then return 'fenced' end
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then return 'ok' end
if ARGV[2] == '' or redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[2], ARGV[1]) end
return 'ok'
