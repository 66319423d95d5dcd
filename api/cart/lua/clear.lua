-- clear drops every line. Its cost grows with their number.
--
-- ARGV  7 begin of the keys of books' facts, 8 begin of the keys of books' users; both share the cart's slot

local refused = open(call('HGET', KEYS[2], '*'))
if refused then return refused end
if lines == 0 then return unchanged('cleared', '1', '') end

-- While a cluster moves the slot, a key that isn't here fails the script. These keys were not declared, so they are all
-- looked at before the first write; none that vanishes is touched again.
local fields, last = call('HKEYS', KEYS[2]), {}
for _, book in ipairs(fields) do
  if book ~= '*' then last[book] = call('ZCARD', ARGV[8] .. book) <= 1 and call('EXISTS', ARGV[7] .. book) == 1 end
end
amount, quantity, lines = 0, 0, 0
local reply = commit('cleared', '1', '')
for _, book in ipairs(fields) do
  if book ~= '*' then
    call('HDEL', KEYS[2], book)
    call('ZREM', ARGV[8] .. book, user)
    if last[book] then call('EXPIRE', ARGV[7] .. book, 3600) end
  end
end
return reply
