-- position returns "ok <id of the newest outbox entry that Kafka has>" or "fenced".
--
-- KEYS  1 generation, 2 position

return 'ok ' .. (call('GET', KEYS[2]) or '')
