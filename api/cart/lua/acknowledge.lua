-- acknowledge says that the user has seen the line's price: its previous price goes. A price that is newer still than
-- the one seen becomes the line's, with the seen one as previous.

local stored = find(book)
local refused = open(stored[1])
if refused then return refused end
if not stored[2] then return 'line-not-found' end

local s, q, price, availability, book_version, previous, title = parse(stored[2])
if previous == '-' then return unchanged('item_acknowledged', '0', '\30' .. book .. ' ' .. stored[2]) end

local facts = call('GET', KEYS[4])
local line = facts and bring(read(facts), s, q, price, availability, book_version, '-', title)
  or s .. ' ' .. q .. ' ' .. price .. ' ' .. availability .. ' ' .. book_version .. ' - ' .. title
return answer(change('item_acknowledged', book, line))
