-- trim removes what Kafka has from an outbox and announces the new position.
--
-- KEYS  1 generation, 2 lease, 3 outbox, 4 position
-- ARGV  1 generation that the caller works under, 2 token of its lease, 3 id of the newest entry that Kafka has, 4 the id
--       after it, 5 PUBLISH or SPUBLISH, 6 channel
-- returns "ok", "fenced", or "lease" where generation or lease are another's

if string.sub(state, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return 'lease' end
local lease = call('GET', KEYS[2])
if not lease or string.match(lease, '%d+$') ~= ARGV[2] then return 'lease' end
call('XTRIM', KEYS[3], 'MINID', '=', ARGV[4])
call('SET', KEYS[4], ARGV[3])
call(ARGV[5], ARGV[6], G .. ' ' .. ARGV[3])
return 'ok'
