-- position returns "ok <id of the newest outbox entry that Kafka has>" or "fenced".
--
-- KEYS  1 generation, 2 position

local state = redis.call('GET', KEYS[1])
if state ~= READY and state ~= LOST then return 'fenced' end
return 'ok ' .. (redis.call('GET', KEYS[2]) or '')
