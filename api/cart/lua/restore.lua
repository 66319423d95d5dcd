-- restore brings back a cart of a shard that lost its data, under its own epoch and version, and emits nothing. A cart
-- that is there already stays as it is. Nothing to restore leaves an empty head, which says so. The walks over its books
-- are queued: their facts may be newer than the cart. The other keys are not declared; they share the tag.
--
-- KEYS  1 generation, 2 cart
-- ARGV  1 generation that the caller works under, 2 user, 3 head, 4 own or "", 5 window of the idle index (ms), then book,
--       line, …
-- returns "ok", "fenced", or "overtaken" where the generation is another

if string.sub(state, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return 'overtaken' end
if call('EXISTS', KEYS[2]) == 1 then return 'ok' end
local tag, user = string.sub(KEYS[1], 1, -2), ARGV[2]
call('HSET', KEYS[2], '*', ARGV[3])
if ARGV[4] ~= '' then
  call('HSET', KEYS[2], '=', ARGV[4])
  call('ZADD', tag .. 'i', ARGV[5], user)
end
for i = 6, #ARGV, 2 do
  call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  call('ZADD', tag .. 'u:' .. ARGV[i], 0, user)
  call('ZADD', tag .. 'b', 0, ARGV[i])
  call('HSET', tag .. 'w', ARGV[i], '')
end
return 'ok'
