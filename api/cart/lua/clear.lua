-- clear drops every line. Its cost grows with their number.
--
-- ARGV  7 begin of the keys of books' facts, 8 begin of the keys of books' users; both share the cart's slot

local refused = open(call('HGET', KEYS[2], '*'))
if refused then return refused end
if lines == 0 then return unchanged('cleared', '1', '') end

local fields = call('HKEYS', KEYS[2])
amount, quantity, lines = 0, 0, 0
local reply = commit('cleared', '1', '')
for _, book in ipairs(fields) do
  if book ~= '*' then
    call('HDEL', KEYS[2], book)
    call('ZREM', ARGV[8] .. book, user)
    if call('EXISTS', ARGV[8] .. book) == 0 then call('EXPIRE', ARGV[7] .. book, 3600) end
  end
end
return reply
