-- guard.lua stands before every script. Before it stand G (the generation's number), READY and LOST (what the generation's
-- key holds), as strings.
--
-- KEYS  1 generation

local call = redis.call
local state = call('GET', KEYS[1])
if state ~= READY and state ~= LOST then return 'fenced' end
