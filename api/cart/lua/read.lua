-- read returns every field and value of a cart, or "fenced", or "restore" (see mutation.lua). It changes nothing.
--
-- KEYS  1 generation, 2 cart

local fields = call('HGETALL', KEYS[2])
if #fields == 0 and state == LOST then return 'restore' end
return fields
