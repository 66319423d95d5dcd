-- line.lua stands between mutation.lua and every script that changes one line.
--
-- KEYS  4 the book's facts, 5 its users
-- ARGV  9 book

local book = ARGV[9]

-- remove drops the line; its event shows it as it stood, at quantity 0.
local function remove(line)
  local s, q, price, availability, book_version, _, title = parse(line)
  count(-1, q, price, availability)
  lines = lines - 1
  local id, gone = change('item_removed', book, s .. ' 0 ' .. price .. ' ' .. availability .. ' ' .. book_version .. ' - ' .. title, true)
  call('HDEL', cart, book)
  forget(KEYS[4], KEYS[5])
  return answer(id, gone)
end

-- known returns the newest facts of the book, the shard's or those that the caller offers, then the shard's own where it
-- has any, then whether those offered are newer. Where nobody has any the first is nil.
local function known(offered)
  local held = call('GET', KEYS[4])
  if offered == '' then return held, held, false end
  if held and tonumber(string.match(held, '^%d+')) >= tonumber(string.match(offered, '^%d+')) then return held, held, false end
  return offered, held, true
end

-- put writes the line at quantity q with the newest facts known. s is its place and was its price, which its user has seen now: it is the
-- previous one where the facts' is another, else there is none. Both are nil for a line that the cart did not have. fresh says that these
-- facts are newer than held, the shard's.
local function put(kind, s, was, q, facts, held, fresh)
  local v, price, availability, title = string.match(facts, '^(%d+) (%d+) (%a) (.*)$')
  if fresh then learn(book, facts, held, KEYS[4], KEYS[5]) end
  if not s then
    if not fresh then call('PERSIST', KEYS[4]) end
    call('ZADD', KEYS[5], 0, user)
    s, seq, lines = seq, seq + 1, lines + 1
  end
  count(1, q, price, availability)
  if not was or was == tonumber(price) then was = '-' end
  return answer(change(kind, book, s .. ' ' .. q .. ' ' .. price .. ' ' .. availability .. ' ' .. v .. ' ' .. was .. ' ' .. title))
end
