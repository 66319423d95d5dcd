-- known pages through the books that the shard has facts of, by id, and drops those of the list that it has none of any
-- more and that nobody holds. The keys of facts and users are not declared; they share the tag.
--
-- KEYS  1 generation, 2 known books
-- ARGV  1 the book after which to go on, or "", 2 most books
-- returns {last book looked at, "" at the end, then book, version, …}, or "fenced"; a book that is held without facts has version 0

local tag = string.sub(KEYS[1], 1, -2)
local books = call('ZRANGEBYLEX', KEYS[2], ARGV[1] == '' and '-' or '(' .. ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local found = {#books == tonumber(ARGV[2]) and books[#books] or ''}
for _, book in ipairs(books) do
  local facts = call('GET', tag .. 'f:' .. book)
  if facts or call('ZCARD', tag .. 'u:' .. book) > 0 then
    found[#found + 1] = book
    found[#found + 1] = facts and string.match(facts, '^%d+') or '0'
  else
    call('ZREM', KEYS[2], book)
  end
end
return found
