-- add raises the quantity of a line, or begins one.
--
-- ARGV  10 quantity, 11 most of one line, 12 most lines, 13 facts that the caller knows, or ""

local stored = find(book)
local refused = open(stored[1])
if refused then return refused end

local facts, held, fresh = known(ARGV[13])
if not facts then return 'facts' end
if string.match(facts, '^%d+ %d+ (%a)') ~= 'a' then return 'book-unavailable' end

local total = tonumber(ARGV[10])
local s, before, price, availability
if stored[2] then
  s, before, price, availability = parse(stored[2])
  total = total + before
end
if total > tonumber(ARGV[11]) then return 'quantity-limit' end
if not s and lines >= tonumber(ARGV[12]) then return 'line-limit' end

if s then count(-1, before, price, availability) end
return put('item_added', s, price, total, facts, held, fresh)
