-- changed returns users whose cart changed in windows that are past, those of the oldest first: {"ok", user, …}, or
-- "fenced". It changes nothing.
--
-- KEYS  1 generation, 2 changed carts
-- ARGV  1 begin of the newest window (ms), 2 most users

local users = call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
table.insert(users, 1, 'ok')
return users
