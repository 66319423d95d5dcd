-- acknowledge says that the user has seen the line's price: its previous price goes. A price that is newer still than
-- the one seen becomes the line's, with the seen one as previous.

local stored = call('HMGET', KEYS[2], '*', book)
local refused = open(stored[1])
if refused then return refused end
if not stored[2] then return 'line-not-found' end

local s, q, price, availability, book_version, previous, title = parse(stored[2])
if previous == '-' then return unchanged('item_acknowledged', '0', '\30' .. book .. ' ' .. stored[2]) end
previous = '-'

local facts = call('GET', KEYS[4])
if facts then
  local v, p, a, t = string.match(facts, '^(%d+) (%d+) (%a) (.*)$')
  if tonumber(v) > tonumber(book_version) then
    count(-1, q, price, availability)
    if tonumber(p) ~= price then previous = price end
    price, availability, book_version, title = p, a, v, t
    count(1, q, price, availability)
  end
end
return change('item_acknowledged', book,
  s .. ' ' .. q .. ' ' .. price .. ' ' .. availability .. ' ' .. book_version .. ' ' .. previous .. ' ' .. title)
