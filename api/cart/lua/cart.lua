-- cart.lua stands between guard.lua and every script that changes carts.
--
-- KEYS  1 generation, 3 outbox
--
-- What a cart's hash, an outbox entry and an answer hold:
--
-- head    field "*": "<epoch> <version> <amount> <quantity> <lines> <next seq> <updated at> <n of its outbox entry, or ->
--         <own>". own is about the user's own last change: "-" where that is the last change, else field "=" tells of it,
--         and own is "r" where a reminder of it was sent, "o" where none was
-- own     field "=": "<epoch> <version> <at>" of the user's own last change
-- address field "+": the user's mail address
-- line    field <book>: "<seq> <quantity> <price> <availability> <book version> <previous price or -> <title>"
-- facts   "<book version> <price> <availability> <title>"; availability is a, o or d
-- entry   "<user> <traceparent> <key hash or -> <request hash or -> <change>"
-- change  "<epoch> <version> <type> <whole> <occurred at> <amount> <quantity> <lines>", then for each line
--         "\30<book> <line>"; quantity 0 says that the line is gone

-- A number that is only passed on stays a string, since turning one into the other costs more than most commands do.
-- Concatenation keeps 14 digits and takes twice as long as format's %d.

local tag = string.sub(KEYS[1], 1, -2)

-- Whose cart it is, and who changes it: set before load.
local user, cart, meta, now
local mine, width, mail = false, 0, ''

local epoch, version, amount, quantity, lines, seq, updated, outbox, own

-- load reads the head. It returns false where the shard lost its data and the cart isn't back yet.
local function load(head)
  if not head then
    epoch, version, amount, quantity, lines, seq, updated, outbox, own = G, 0, 0, 0, 0, 1, now, '-', '-'
    return state == READY
  end
  local e, v, a, q, l, s, u, o, w = string.match(head, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S)$')
  epoch, version, amount, quantity, lines = e, tonumber(v), tonumber(a), tonumber(q), tonumber(l)
  seq, outbox, own = s, o, w
  updated = version > 0 and u or now
  return true
end

-- parse returns the parts of a line: place, quantity, price, availability, book version, previous price, title; all as
-- strings but the quantity and the price.
local function parse(line)
  local s, q, p, a, v, previous, title = string.match(line, '^(%d+) (%d+) (%d+) (%a) (%d+) (%S+) (.*)$')
  return s, tonumber(q), tonumber(p), a, v, previous, title
end

-- count adds a line to the totals, or takes it away where sign is -1.
local function count(sign, q, price, availability)
  if availability == 'a' then
    amount = amount + sign * q * price
    quantity = quantity + sign * q
  end
end

local function totals()
  return string.format('%d %d %d', amount, quantity, lines)
end

-- all returns every line of the cart in order, but with book's line replaced by the one given.
local function all(book, line)
  local sorted, stored = {{tonumber(string.match(line, '^%d+')), '\30' .. book .. ' ' .. line}}, call('HGETALL', cart)
  for i = 1, #stored, 2 do
    local field, value = stored[i], stored[i + 1]
    if field ~= book and not string.find(field, '^[*+=]$') then
      sorted[#sorted + 1] = {tonumber(string.match(value, '^%d+')), '\30' .. field .. ' ' .. value}
    end
  end
  table.sort(sorted, function(a, b) return a[1] < b[1] end)
  for i, entry in ipairs(sorted) do sorted[i] = entry[2] end
  return table.concat(sorted)
end

-- index puts the user into a sorted set by the window of time that at lies in, where before didn't lie in it already.
local function index(name, window, at, before)
  local begin = at - at % window
  if not before or before - before % window ~= begin then
    call('ZADD', tag .. name, string.format('%.0f', begin), user)
  end
end

-- commit writes the indexes, the outbox entry, the head and, where one is given, the line. It returns the entry's id and
-- the change. The indexes' keys were not declared: while a cluster moves the slot, one that isn't here fails the script,
-- so they come first. An entry too much is harmless. over, where it is given, is a version that the next one exceeds, too.
local function commit(kind, whole, items, book, line, over)
  local at, before, was = tonumber(now), version > 0 and tonumber(updated), own
  if before and before >= at then at = before else updated = now end
  index('d', 30000, at, before)
  if mine then
    index('i', width, at, was == '-' and before)
    own = '-'
  elseif was == '-' then
    own = 'o'
  end
  local number, sums = string.format('%s %d ', G, (over and math.max(over, version) or version) + 1), totals()
  local change = number .. kind .. ' ' .. whole .. ' ' .. updated .. ' ' .. sums .. items
  local id = call('XADD', KEYS[3], G .. '-*', 'cart', user .. ' ' .. meta .. ' ' .. change)
  local head = number .. sums .. ' ' .. seq .. ' ' .. updated .. ' ' .. string.sub(id, #G + 2) .. ' ' .. own
  if line then
    call('HSET', cart, '*', head, book, line)
  else
    call('HSET', cart, '*', head)
  end
  if mail ~= '' then call('HSET', cart, '+', mail) end
  if own ~= was then
    if mine then
      call('HDEL', cart, '=')
    elseif before then
      call('HSET', cart, '=', epoch .. ' ' .. version .. ' ' .. string.format('%.0f', before))
    end
  end
  return id, change
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
