-- add raises the quantity of a line, or begins one.
--
-- ARGV  8 quantity, 9 most of one line, 10 most lines, 11 facts that the caller knows, or ""

local stored = call('HMGET', KEYS[2], '*', book)
local refused = open(stored[1])
if refused then return refused end

local facts, fresh = known(ARGV[11])
if not facts then return 'facts' end
if string.match(facts, '^%d+ %d+ (%a)') ~= 'a' then return 'book-unavailable' end

local total = tonumber(ARGV[8])
local s, held, price, availability
if stored[2] then
  s, held, price, availability = parse(stored[2])
  total = total + held
end
if total > tonumber(ARGV[9]) then return 'quantity-limit' end
if not s and lines >= tonumber(ARGV[10]) then return 'line-limit' end

if s then count(-1, held, price, availability) end
return put('item_added', s, total, facts, fresh)
