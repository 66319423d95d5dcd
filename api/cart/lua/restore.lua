-- restore brings back carts of a shard that lost its data, under their own epoch and version, and emits nothing. A cart
-- that is there already stays as it is. One of version 0 leaves an empty head, which says that there is nothing to restore.
--
-- KEYS  1 generation
-- ARGV  1 generation that the caller works under, then for each cart: user, window of the idle index (ms) or "", number of
--       its fields and values, then these: "*" and the head, "=" and own (see cart.lua) unless the window is "", the lines
-- returns "ok", "fenced", or "overtaken" where the generation is another

if string.sub(state, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return 'overtaken' end
local absent, seen, at = {}, {}, 2
while at <= #argv do
  local user, window, first, last = argv[at], argv[at + 1], at + 3, at + 2 + tonumber(argv[at + 2])
  if not seen[user] and call('EXISTS', tag .. 'c:' .. user) == 0 then
    seen[user] = true
    absent[#absent + 1] = at
    rest(window, user)
    for i = first + (window == '' and 2 or 4), last, 2 do hold(argv[i], user) end
  end
  at = last + 1
end
index()
for _, i in ipairs(absent) do many('HSET', tag .. 'c:' .. argv[i], argv, i + 3, i + 2 + tonumber(argv[i + 2])) end
return 'ok'
