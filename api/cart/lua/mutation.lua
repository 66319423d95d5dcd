-- mutation.lua stands before every script that changes a cart. Before it stand G (the generation's number), READY and
-- LOST (what the generation's key holds), as strings.
--
-- KEYS  1 generation, 2 cart, 3 outbox, then the script's own; the last is the kept answer where the request has a key
-- ARGV  1 user, 2 "<traceparent> <key hash or -> <request hash or ->", 3 now (ms), 4 If-Match, 5 request hash or "",
--       6 time to live of a kept answer (ms), then the script's own
--
-- If-Match is "" for none, "*" for any, else ",<epoch>.<version>,…,"; ",0," in it stands for version 0 under any epoch.
--
-- A script answers one string, a word and what goes with it:
--   ok <outbox id> <change>      done, or nothing to do
--   replay <outbox id> <change>  the kept answer of an earlier request
--   fenced                       another generation: nothing was read, nothing changed
--   restore                      the shard lost its data and this cart isn't back yet
--   facts                        the book's facts are needed and were not offered
--   mismatch <version>, reused, line-not-found, book-unavailable, quantity-limit, line-limit
-- Only "ok" may have written.
--
-- head    "<epoch> <version> <amount> <quantity> <lines> <next seq> <updated at> <n of its outbox entry, or ->"
-- line    "<seq> <quantity> <price> <availability> <book version> <previous price or -> <title>"
-- facts   "<book version> <price> <availability> <title>"; availability is a, o or d
-- change  "<epoch> <version> <type> <whole> <occurred at> <amount> <quantity> <lines>", then for each line
--         "\30<book> <line>"; quantity 0 says that the line is gone

-- A number that is only passed on stays a string, since turning one into the other costs more than most commands do.
-- Concatenation keeps 14 digits, which only an amount can exceed.

local user, now, match, request = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local call = redis.call

local state = call('GET', KEYS[1])
if state ~= READY and state ~= LOST then return 'fenced' end

if request ~= '' then
  local kept = call('GET', KEYS[#KEYS])
  if kept then
    if string.sub(kept, 1, #request) ~= request then return 'reused' end
    return 'replay ' .. string.sub(kept, #request + 2)
  end
end

local epoch, version, amount, quantity, lines, seq, updated, outbox = G, 0, 0, 0, 0, 1, now, '-'

-- open reads the head; it answers what stands in the way of a mutation, or nil.
local function open(head)
  if head then
    local e, v, a, q, l, s, u, o = string.match(head, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+)$')
    epoch, version, amount, quantity, lines = e, tonumber(v), tonumber(a), tonumber(q), tonumber(l)
    seq, outbox = s, o
    if version > 0 then updated = u end
  elseif state == LOST then
    return 'restore'
  end
  if match ~= '' and match ~= '*' and not string.find(match, ',' .. G .. '.' .. version .. ',', 1, true)
    and not (version == 0 and string.find(match, ',0,', 1, true)) then
    return 'mismatch ' .. version
  end
end

-- count adds a line to the totals, or takes it away where sign is -1.
local function count(sign, q, price, availability)
  if availability == 'a' then
    amount = amount + sign * q * price
    quantity = quantity + sign * q
  end
end

local function totals()
  return string.format('%.0f', amount) .. ' ' .. quantity .. ' ' .. lines
end

local function answer(id, change)
  if request ~= '' then
    call('SET', KEYS[#KEYS], request .. ' ' .. id .. ' ' .. change, 'PX', ARGV[6])
  end
  return 'ok ' .. id .. ' ' .. change
end

-- unchanged answers how things stand.
local function unchanged(kind, whole, items)
  return answer(epoch .. '-' .. outbox,
    G .. ' ' .. version .. ' ' .. kind .. ' ' .. whole .. ' ' .. updated .. ' ' .. totals() .. items)
end

-- all returns every line of the cart in order, but with book's line replaced by the one given.
local function all(book, line)
  local sorted, stored = {{tonumber(string.match(line, '^%d+')), '\30' .. book .. ' ' .. line}}, call('HGETALL', KEYS[2])
  for i = 1, #stored, 2 do
    local field, value = stored[i], stored[i + 1]
    if field ~= '*' and field ~= book then
      sorted[#sorted + 1] = {tonumber(string.match(value, '^%d+')), '\30' .. field .. ' ' .. value}
    end
  end
  table.sort(sorted, function(a, b) return a[1] < b[1] end)
  for i, entry in ipairs(sorted) do sorted[i] = entry[2] end
  return table.concat(sorted)
end

-- commit writes the head, the line where one is given, and the outbox entry.
local function commit(kind, whole, items, book, line)
  local number, sums = G .. ' ' .. version + 1 .. ' ', totals()
  if tonumber(now) > tonumber(updated) then updated = now end
  local change = number .. kind .. ' ' .. whole .. ' ' .. updated .. ' ' .. sums .. items
  local id = call('XADD', KEYS[3], G .. '-*', 'cart', user .. ' ' .. ARGV[2] .. ' ' .. change)
  local head = number .. sums .. ' ' .. seq .. ' ' .. updated .. ' ' .. string.sub(id, #G + 2)
  if line then
    call('HSET', KEYS[2], '*', head, book, line)
  else
    call('HSET', KEYS[2], '*', head)
  end
  return answer(id, change)
end

-- change commits one line; under a higher generation, and the first time, the change carries the whole cart.
local function change(kind, book, line, gone)
  local whole, items = '0', nil
  if version == 0 then
    whole = '1'
  elseif epoch ~= G then
    whole, items = '1', all(book, line)
  end
  items = items or '\30' .. book .. ' ' .. line
  return commit(kind, whole, items, book, not gone and line or nil)
end
