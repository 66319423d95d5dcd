-- facts.lua stands before every script that brings lines to a book's facts, or drops them.

-- read returns the parts of facts.
local function read(facts)
  local v, price, availability, title = string.match(facts, '^(%d+) (%d+) (%a) (.*)$')
  return {version = tonumber(v), price = tonumber(price), availability = availability, title = title}
end

-- learn writes facts that are newer than held, the shard's own, which may be nil. Where they change what a holder of the
-- book can see, it queues the walk over all of them, from the beginning. It returns whether it did, and whether there are
-- holders. Nothing else may have been written yet: the keys of the queue and of the known books were not declared.
local function learn(book, facts, held, key, users)
  local holders = call('ZCARD', users) > 0
  local queued = holders and not (held and string.match(held, ' .*') == string.match(facts, ' .*'))
  if queued then call('HSET', tag .. 'w', book, '') end
  call('ZADD', tag .. 'b', 0, book)
  call('SET', key, facts)
  return queued, holders
end

-- forget takes the user out of the book's index. Facts of a book that nobody holds any more expire after an hour. An index
-- that is gone isn't asked: while a cluster moves the slot, that would fail the script after its change.
local function forget(facts, users)
  local last = call('ZCARD', users) <= 1
  call('ZREM', users, user)
  if last then call('EXPIRE', facts, 3600) end
end

-- bring counts a line anew by newer facts and returns it as it stands then, or nil where they change nothing that can be
-- seen. previous is the oldest price that the user hasn't seen go; it goes where the price returns to it.
local function bring(facts, s, q, price, availability, book_version, previous, title)
  if facts.version <= tonumber(book_version)
    or facts.price == price and facts.availability == availability and facts.title == title then
    return nil
  end
  count(-1, q, price, availability)
  count(1, q, facts.price, facts.availability)
  if facts.price ~= price then
    if previous == '-' then
      previous = price
    elseif tonumber(previous) == facts.price then
      previous = '-'
    end
  end
  return string.format('%s %d %d %s %d %s %s', s, q, facts.price, facts.availability, facts.version, previous, facts.title)
end
