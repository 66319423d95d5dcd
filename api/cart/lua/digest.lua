-- digest tells the version of carts and a hash of what they hold, so that they can be compared without being moved. It
-- changes nothing, and stops early where the carts hold many lines.
--
-- KEYS  1 generation
-- ARGV  1 begin of the keys of carts, 2 most lines, then users
-- returns {"ok", digest, …} for the first of the users, "fenced", or "restore" where the shard has not got its carts back.
--         A digest is "<epoch> <version> <SHA-1>", or "" where there is no cart. What is hashed is in digest.go.

if state == LOST then return 'restore' end

local digests, left = {'ok'}, tonumber(ARGV[2])
for i = 3, #ARGV do
  if left <= 0 then break end
  local stored, sorted, head = call('HGETALL', ARGV[1] .. ARGV[i]), {}, nil
  for j = 1, #stored, 2 do
    local field, value = stored[j], stored[j + 1]
    if field == '*' then
      head = value
    elseif field ~= '=' and field ~= '+' then
      local s, q, p, a, previous, title = string.match(value, '^(%d+) (%d+) (%d+) (%a) %d+ (%S+) (.*)$')
      sorted[#sorted + 1] = {tonumber(s), '\30' .. field .. ' ' .. q .. ' ' .. p .. ' ' .. a .. ' ' .. previous .. ' ' .. title}
    end
  end
  local epoch, version, totals, updated = string.match(head or '', '^(%d+) (%d+) (%d+ %d+ %d+) %d+ (%d+)')
  if not head or version == '0' then
    digests[#digests + 1] = ''
  else
    table.sort(sorted, function(x, y) return x[1] < y[1] end)
    for j, line in ipairs(sorted) do sorted[j] = line[2] end
    digests[#digests + 1] = epoch .. ' ' .. version .. ' ' .. redis.sha1hex(totals .. ' ' .. updated .. table.concat(sorted))
  end
  left = left - 1 - #sorted
end
return digests
