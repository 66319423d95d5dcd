-- set makes the quantity of a line what is asked, begins the line where there is none, and removes it at 0.
--
-- ARGV  8 quantity, 9 most of one line, 10 most lines, 11 facts that the caller knows, or ""

local stored = call('HMGET', KEYS[2], '*', book)
local refused = open(stored[1])
if refused then return refused end

local wanted = tonumber(ARGV[8])
if not stored[2] then
  if wanted == 0 then return unchanged('item_removed', '0', '') end
elseif wanted == 0 then
  return remove(stored[2])
end

local s, held, price, availability, book_version, previous, title
if stored[2] then
  s, held, price, availability, book_version, previous, title = parse(stored[2])
  if held == wanted then return unchanged('item_set', '0', '\30' .. book .. ' ' .. stored[2]) end
end

local facts, fresh = known(ARGV[11])
if not facts then
  if not s or wanted > held then return 'facts' end
  -- a line can always be lowered, also while its book can't be asked for
  facts = book_version .. ' ' .. price .. ' ' .. availability .. ' ' .. title
end
if (not s or wanted > held) and string.match(facts, '^%d+ %d+ (%a)') ~= 'a' then return 'book-unavailable' end
if wanted > tonumber(ARGV[9]) then return 'quantity-limit' end
if not s and lines >= tonumber(ARGV[10]) then return 'line-limit' end

if s then count(-1, held, price, availability) end
return put('item_set', s, wanted, facts, fresh)
