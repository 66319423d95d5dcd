-- unchanged takes users from among those whose cart changed, where that was no later than the caller looked at it.
--
-- KEYS  1 generation, 2 changed carts
-- ARGV  1 begin of the newest window that the caller looked at (ms), then users
-- returns "ok" or "fenced"

local newest = tonumber(ARGV[1])
for i = 2, #ARGV do
  local at = call('ZSCORE', KEYS[2], ARGV[i])
  if at and tonumber(at) <= newest then call('ZREM', KEYS[2], ARGV[i]) end
end
return 'ok'
