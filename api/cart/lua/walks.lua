-- walks returns what waits in the queue of walks: {refresh or "", book, …}, or "fenced". It changes nothing. Of a shard
-- that has not got its carts back nothing waits yet. Where a refresh is asked for it comes first: the shard's facts may be
-- older than its carts.
--
-- KEYS  1 generation, 2 queue of walks
-- ARGV  1 most books

if state == LOST then return {''} end
local refresh = call('HGET', KEYS[2], '*')
if refresh then return {refresh} end
return {'', unpack(call('HRANDFIELD', KEYS[2], ARGV[1]))}
