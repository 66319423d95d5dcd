-- clear drops every line. Its cost grows with their number.

if mail ~= '' and call('HGET', cart, '+') == mail then mail = '' end
local refused = open(call('HGET', cart, '*'))
if refused then return refused end
if lines == 0 then return unchanged('cleared', '1', '') end

-- While a cluster moves the slot, a key that isn't here fails the script. These keys were not declared, so they are all
-- looked at before the first write; none that vanishes is touched again.
local facts, users = tag .. 'f:', tag .. 'u:'
local fields, last = call('HKEYS', cart), {}
for _, book in ipairs(fields) do
  if not string.find(book, '^[*+=]$') then
    last[book] = call('ZCARD', users .. book) <= 1 and call('EXISTS', facts .. book) == 1
  end
end
amount, quantity, lines = 0, 0, 0
local id, cleared = commit('cleared', '1', '')
for book, alone in pairs(last) do
  call('HDEL', cart, book)
  call('ZREM', users .. book, user)
  if alone then call('EXPIRE', facts .. book, 3600) end
end
return answer(id, cleared)
