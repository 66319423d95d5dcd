-- unqueue drops an entry of the queue of walks, if it still holds what the caller saw.
--
-- KEYS  1 generation, 2 queue of walks, 3 the book's facts, where the entry is to stay if there are any
-- ARGV  1 book, or "*" for the refresh, 2 what it holds, "" for whatever that is
-- returns "ok" or "fenced"

if KEYS[3] and call('EXISTS', KEYS[3]) == 1 then return 'ok' end
if ARGV[2] == '' or call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then call('HDEL', KEYS[2], ARGV[1]) end
return 'ok'
