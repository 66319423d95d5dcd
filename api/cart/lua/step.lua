-- step goes on with the walk over a book's holders: each cart whose line differs from the shard's facts gets them, with a
-- book_changed of its own. A cart that no longer holds the book leaves the index.
--
-- KEYS  1 generation, 2 queue of walks, 3 outbox, 4 the book's facts, 5 its users, 6 lease of the shard's walks
-- ARGV  1 book, 2 most lines to look at, 3 now (ms), 4 "<traceparent> - -", 5 instance, 6 time to live of its lease (ms),
--       7 longest outbox to write to
-- returns one string:
--   on <seen> <changed>, done <seen> <changed>   the walk goes on, or has ended
--   busy     another instance has the lease
--   paused   the outbox is too long, or the shard's facts have to be refreshed first
--   unknown  the shard has no facts of the book
--   fenced

local book, most = ARGV[1], tonumber(ARGV[2])
now, meta = ARGV[3], ARGV[4]

local holder = call('GET', KEYS[6])
if holder and holder ~= ARGV[5] then return 'busy' end
local from = call('HGET', KEYS[2], book)
if not from then return 'done 0 0' end
local users = call('ZRANGEBYLEX', KEYS[5], from == '' and '-' or '(' .. from, '+', 'LIMIT', 0, most)
if #users == 0 then
  call('HDEL', KEYS[2], book)
  return 'done 0 0'
end
local facts = call('GET', KEYS[4])
if not facts then return 'unknown' end
if call('XLEN', KEYS[3]) > tonumber(ARGV[7]) or call('HEXISTS', KEYS[2], '*') == 1 then return 'paused' end

facts = read(facts)
local seen, looked, changed = 0, 0, 0
for _, holder in ipairs(users) do
  user, cart = holder, tag .. 'c:' .. holder
  local stored = call('HMGET', cart, '*', book)
  if stored[1] and stored[2] then
    load(stored[1])
    local line = bring(facts, parse(stored[2]))
    if line then
      if epoch ~= G then looked = looked + lines end -- the change carries all of them
      change('book_changed', book, line)
      changed = changed + 1
    end
  else
    call('ZREM', KEYS[5], user)
  end
  seen, looked = seen + 1, looked + 1
  if looked >= most then break end
end
call('SET', KEYS[6], ARGV[5], 'PX', ARGV[6])
if seen == #users and seen < most then
  call('HDEL', KEYS[2], book)
  return 'done ' .. seen .. ' ' .. changed
end
call('HSET', KEYS[2], book, user)
return 'on ' .. seen .. ' ' .. changed
