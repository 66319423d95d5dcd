-- step goes on with the walk over a book's holders: each cart whose line differs from the shard's facts gets them, with a
-- book_changed of its own. A cart that no longer holds the book leaves the index.
--
-- KEYS  1 generation, 2 queue of walks, 3 outbox, 4 the book's facts, 5 its users, 6 lease of the shard's walks
-- ARGV  1 book, 2 most lines to look at, 3 now (ms), 4 "<traceparent> - -", 5 instance, 6 time to live of its lease (ms),
--       7 longest outbox to write to, 8 after how many bytes of lines it ends
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

-- Most holders show the book alike but for place and quantity. What the facts make of it is worked out once for each way in
-- which it is shown: the line from its price on, or nil where nothing changes, and what each copy adds to amount and quantity.
local shown = {}
local function renew(tail)
  local was_amount, was_quantity = amount, quantity
  amount, quantity = 0, 0
  local line = bring(facts, parse('0 1 ' .. tail))
  local new = {line and string.sub(line, 5), amount, quantity}
  amount, quantity, shown[tail] = was_amount, was_quantity, new
  return new
end

-- quick does what change does, for a cart that was changed under this generation before: nearly all are, and most of a
-- step's time goes into them. It returns false for any other cart.
local at = tonumber(now)
local window = at - at % 30000
local head_pattern = '^' .. G .. ' ([1-9]%d*) (%d+) (%d+) (%d+) (%d+) (%d+) %S+ (%S)$'
local before_user, before_line = ' ' .. meta .. ' ' .. G .. ' ', '\30' .. book .. ' '
local function quick(head, q, new, line)
  local v, a, n, count_of_lines, next, changed_at, last = string.match(head, head_pattern)
  if not v then return false end
  local before, when = tonumber(changed_at), now
  if before >= at then
    when = changed_at
  elseif before < window then
    call('ZADD', tag .. 'd', string.format('%.0f', window), user)
  end
  local number = string.format('%d', v + 1)
  local sums = string.format('%d %d %s', a + q * new[2], n + q * new[3], count_of_lines)
  local id = call('XADD', KEYS[3], G .. '-*', 'cart',
    user .. before_user .. number .. ' book_changed 0 ' .. when .. ' ' .. sums .. before_line .. line)
  head = G .. ' ' .. number .. ' ' .. sums .. ' ' .. next .. ' ' .. when .. ' ' .. string.sub(id, #G + 2)
  if last == '-' then
    call('HSET', cart, '*', head .. ' o', book, line, '=', G .. ' ' .. v .. ' ' .. changed_at)
  else
    call('HSET', cart, '*', head .. ' ' .. last, book, line)
  end
  return true
end

local seen, looked, changed, written, enough = 0, 0, 0, 0, tonumber(ARGV[8])
for _, holder in ipairs(users) do
  user, cart = holder, tag .. 'c:' .. holder
  local stored = call('HMGET', cart, '*', book)
  if stored[1] and stored[2] then
    local place, q, tail = string.match(stored[2], '^(%d+) (%d+) (.*)$')
    local new = shown[tail] or renew(tail)
    if new[1] then
      local line = place .. ' ' .. q .. ' ' .. new[1]
      written = written + #line
      if not quick(stored[1], q, new, line) then
        load(stored[1])
        if epoch ~= G then looked = looked + lines end -- the change carries all of them
        amount, quantity = amount + q * new[2], quantity + q * new[3]
        local _, text = change('book_changed', book, line)
        written = written + #text
      end
      changed = changed + 1
    end
  else
    forget(KEYS[4], KEYS[5])
  end
  seen, looked = seen + 1, looked + 1
  if looked >= most or written >= enough then break end
end
call('SET', KEYS[6], ARGV[5], 'PX', ARGV[6])
if seen == #users and seen < most then
  call('HDEL', KEYS[2], book)
  return 'done ' .. seen .. ' ' .. changed
end
call('HSET', KEYS[2], book, user)
return 'on ' .. seen .. ' ' .. changed
