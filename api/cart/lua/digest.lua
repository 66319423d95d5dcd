-- digest tells what carts hold, or a hash of it where that is longer, so that they can be compared without being moved. It
-- changes nothing, and stops early where the carts hold many lines.
--
-- KEYS  1 generation
-- ARGV  1 begin of the keys of carts, 2 most lines, 3 most bytes of a cart that is told as it is, then users
-- returns {"ok", one, …} for the first of the users, "fenced", or "restore" where the shard has not got its carts back.
--         One is "" where there is no cart, or the fields and values of its hash with "\30" between them, or "<epoch> <version>
--         <SHA-1>" of the text that content.go describes; after "\30" that text itself where it is no longer than ARGV[3].

if state == LOST then return 'restore' end

-- short is the most fields and values that can be worth putting together: most carts take no more.
local short, between, concat = 24, '\30', table.concat
local told, left, bytes, prefix = {'ok'}, tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[1]

-- hashed is what is told of a cart that is long.
local function hashed(stored)
  local sorted, head = {}, nil
  for j = 1, #stored, 2 do
    local field, value = stored[j], stored[j + 1]
    if field == '*' then
      head = value
    elseif field ~= '=' and field ~= '+' then
      local s, q, p, a, previous, title = string.match(value, '^(%d+) (%d+) (%d+) (%a) %d+ (%S+) (.*)$')
      sorted[#sorted + 1] = {tonumber(s), between .. field .. ' ' .. q .. ' ' .. p .. ' ' .. a .. ' ' .. previous .. ' ' .. title}
    end
  end
  local epoch, version, totals, updated = string.match(head or '', '^(%d+) (%d+) (%d+ %d+ %d+) %d+ (%d+)')
  if not head or version == '0' then return '' end
  table.sort(sorted, function(x, y) return x[1] < y[1] end)
  for j, line in ipairs(sorted) do sorted[j] = line[2] end
  local text = totals .. ' ' .. updated .. concat(sorted)
  if #text <= bytes then return between .. epoch .. ' ' .. version .. ' ' .. text end
  return epoch .. ' ' .. version .. ' ' .. redis.sha1hex(text)
end

for i = 4, #ARGV do
  if left <= 0 then break end
  local stored = call('HGETALL', prefix .. ARGV[i])
  local fields, one = #stored, nil
  if fields <= short then
    one = concat(stored, between)
    if #one > bytes then one = nil end
  end
  told[#told + 1] = one or hashed(stored)
  left = left - 1 - fields / 2
end
return told
