-- mutation.lua stands between cart.lua and every script by which a user changes their cart.
--
-- KEYS  1 generation, 2 cart, 3 outbox, then the script's own; the last is the kept answer where the request has a key
-- ARGV  1 user, 2 "<traceparent> <key hash or -> <request hash or ->", 3 now (ms), 4 If-Match, 5 request hash or "",
--       6 time to live of a kept answer (ms), 7 mail address or "", 8 width of the idle index's windows (ms), then the
--       script's own
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

local match, request = ARGV[4], ARGV[5]

if request ~= '' then
  local kept = call('GET', KEYS[#KEYS])
  if kept then
    if string.sub(kept, 1, #request) ~= request then return 'reused' end
    return 'replay ' .. string.sub(kept, #request + 2)
  end
end

user, cart, meta, now = ARGV[1], KEYS[2], ARGV[2], ARGV[3]
mine, mail, width = true, ARGV[7], tonumber(ARGV[8])

-- find returns the head and a book's line. An address that the cart has already isn't written again.
local function find(book)
  if mail == '' then return call('HMGET', cart, '*', book) end
  local stored = call('HMGET', cart, '*', book, '+')
  if stored[3] == mail then mail = '' end
  return stored
end

-- open reads the head; it answers what stands in the way of a mutation, or nil.
local function open(head)
  if not load(head) then return 'restore' end
  if match ~= '' and match ~= '*' and not string.find(match, ',' .. G .. '.' .. version .. ',', 1, true)
    and not (version == 0 and string.find(match, ',0,', 1, true)) then
    return 'mismatch ' .. version
  end
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
