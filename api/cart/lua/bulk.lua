-- bulk.lua stands before scripts that write many carts of a shard at once, as recovery does. The keys of indexes are not
-- declared; they share the tag.
--
-- KEYS  1 generation

local call, argv, tag = redis.call, ARGV, string.sub(KEYS[1], 1, -2)
local idle, books, walks, holders = {}, {}, {}, {}

-- many runs a command with any number of arguments: unpack takes only so many.
local function many(command, key, all, first, last)
  for i = first, last, 1000 do call(command, key, unpack(all, i, math.min(i + 999, last))) end
end

-- rest notes the window (ms) of the idle index that the user is in; "" for none.
local function rest(window, user)
  if window ~= '' then idle[#idle + 1], idle[#idle + 2] = window, user end
end

-- hold notes that the user holds the book, and that the walk over it has to begin anew: its facts may be newer.
local function hold(book, user)
  local of = holders[book]
  if not of then
    of = {}
    holders[book] = of
    books[#books + 1], books[#books + 2] = 0, book
    walks[#walks + 1], walks[#walks + 2] = book, ''
  end
  of[#of + 1], of[#of + 2] = 0, user
end

-- index writes what was noted. It comes before the carts: a member too much is harmless.
local function index()
  many('ZADD', tag .. 'i', idle, 1, #idle)
  many('ZADD', tag .. 'b', books, 1, #books)
  many('HSET', tag .. 'w', walks, 1, #walks)
  for book, of in pairs(holders) do many('ZADD', tag .. 'u:' .. book, of, 1, #of) end
end
