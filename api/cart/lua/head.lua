-- head returns "ok <epoch> <version>" of a cart's last change, or "fenced", or "restore" (see mutation.lua).
--
-- KEYS  1 generation, 2 cart

local state = redis.call('GET', KEYS[1])
if state ~= READY and state ~= LOST then return 'fenced' end
local head = redis.call('HGET', KEYS[2], '*')
if head then return 'ok ' .. string.match(head, '^%d+ %d+') end
if state == LOST then return 'restore' end
return 'ok 0 0'
