-- learn tells the shard about books. Facts that are no newer than the shard's change nothing. Those of a book that nobody
-- holds expire after an hour: they are there for an add that is on its way with older ones.
--
-- KEYS  1 generation, then for each book its facts and its users
-- ARGV  for each book its id and facts
-- returns "ok <walks that were queued>" or "fenced"

local walks = 0
for i = 1, #ARGV, 2 do
  local key, users, facts = KEYS[i + 1], KEYS[i + 2], ARGV[i + 1]
  local held = call('GET', key)
  if not held or tonumber(string.match(held, '^%d+')) < tonumber(string.match(facts, '^%d+')) then
    local queued, holders = learn(ARGV[i], facts, held, key, users)
    if queued then walks = walks + 1 end
    if not holders then call('EXPIRE', key, 3600) end
  end
end
return 'ok ' .. walks
