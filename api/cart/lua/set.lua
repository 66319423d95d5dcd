-- set makes the quantity of a line what is asked, begins the line where there is none, and removes it at 0.
--
-- ARGV  10 quantity, 11 most of one line, 12 most lines, 13 facts that the caller knows, or ""

local stored = find(book)
local refused = open(stored[1])
if refused then return refused end

local wanted = tonumber(ARGV[10])
if not stored[2] then
  if wanted == 0 then return unchanged('item_removed', '0', '') end
elseif wanted == 0 then
  return remove(stored[2])
end

local s, before, price, availability, book_version, previous, title
if stored[2] then
  s, before, price, availability, book_version, previous, title = parse(stored[2])
  if before == wanted then return unchanged('item_set', '0', '\30' .. book .. ' ' .. stored[2]) end
end

local facts, held, fresh = known(ARGV[13])
if not facts then
  if not s or wanted > before then return 'facts' end
  -- a line can always be lowered, also while its book can't be asked for
  facts = book_version .. ' ' .. price .. ' ' .. availability .. ' ' .. title
end
if (not s or wanted > before) and string.match(facts, '^%d+ %d+ (%a)') ~= 'a' then return 'book-unavailable' end
if wanted > tonumber(ARGV[11]) then return 'quantity-limit' end
if not s and lines >= tonumber(ARGV[12]) then return 'line-limit' end

if s then count(-1, before, price, availability) end
return put('item_set', s, price, wanted, facts, held, fresh)
