-- line.lua stands between mutation.lua and every script that changes one line.
--
-- KEYS  4 the book's facts, 5 its users
-- ARGV  7 book

local book = ARGV[7]

-- parse returns the parts of a line: place, quantity, price, availability, book version, previous price, title; all as
-- strings but the quantity and the price.
local function parse(line)
  local s, q, p, a, v, previous, title = string.match(line, '^(%d+) (%d+) (%d+) (%a) (%d+) (%S+) (.*)$')
  return s, tonumber(q), tonumber(p), a, v, previous, title
end

-- forget takes the user out of the book's index. Facts of a book that nobody holds any more expire after an hour. An index
-- that is gone isn't asked: while a cluster moves the slot, that would fail the script after its change.
local function forget(facts, users)
  local last = call('ZCARD', users) <= 1
  call('ZREM', users, user)
  if last then call('EXPIRE', facts, 3600) end
end

-- remove drops the line; its event shows it as it stood, at quantity 0.
local function remove(line)
  local s, q, price, availability, book_version, _, title = parse(line)
  count(-1, q, price, availability)
  lines = lines - 1
  local reply = change('item_removed', book, s .. ' 0 ' .. price .. ' ' .. availability .. ' ' .. book_version .. ' - ' .. title, true)
  call('HDEL', KEYS[2], book)
  forget(KEYS[4], KEYS[5])
  return reply
end

-- known returns the newest facts of the book, the shard's or those that the caller offers, and whether the shard lacks
-- them. Where nobody has any it returns nil.
local function known(offered)
  local facts = call('GET', KEYS[4])
  if offered == '' then return facts or nil, false end
  if facts and tonumber(string.match(facts, '^%d+')) >= tonumber(string.match(offered, '^%d+')) then return facts, false end
  return offered, true
end

-- put writes the line at quantity q with the newest facts known, and clears its previous price. s is its place, nil for
-- a line that the cart did not have. fresh says that the shard lacks these facts.
local function put(kind, s, q, facts, fresh)
  local v, price, availability, title = string.match(facts, '^(%d+) (%d+) (%a) (.*)$')
  if fresh then
    call('SET', KEYS[4], facts)
  end
  if not s then
    if not fresh then call('PERSIST', KEYS[4]) end
    call('ZADD', KEYS[5], 0, user)
    s, seq, lines = seq, seq + 1, lines + 1
  end
  count(1, q, price, availability)
  return change(kind, book, s .. ' ' .. q .. ' ' .. price .. ' ' .. availability .. ' ' .. v .. ' - ' .. title)
end
