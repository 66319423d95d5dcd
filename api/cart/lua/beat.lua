-- beat keeps an instance among a shard's members, and takes, keeps or gives up the lease of the shard's outbox. Who has it
-- tells how far Kafka's partition has come.
--
-- KEYS  1 generation, 2 lease, 3 members, 4 last token, 5 offset that the shard is known to hold
-- ARGV  1 instance, 2 "take", "leave" (the lease, still a member) or "quit" (both), 3 time to live of lease and member (ms),
--       4 offset in the shard's partition, -1 for none, -2 to forget it
-- returns {owner or "", token, member, …} or "fenced". The clock is the server's.

local me, wish, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now - ttl))
if wish == 'quit' then
  call('ZREM', KEYS[3], me)
else
  call('ZADD', KEYS[3], string.format('%.0f', now), me)
end
local owner, token = '', '0'
local lease = call('GET', KEYS[2])
if lease then owner, token = string.match(lease, '^(%S+) (%d+)$') end
if owner == me then
  if wish == 'take' then
    call('PEXPIRE', KEYS[2], ttl)
  else
    call('DEL', KEYS[2])
    owner = ''
  end
elseif owner == '' and wish == 'take' then
  owner, token = me, string.format('%.0f', call('INCR', KEYS[4]))
  call('SET', KEYS[2], me .. ' ' .. token, 'PX', ttl)
end
if owner == me and ARGV[4] == '-2' then
  call('DEL', KEYS[5])
elseif owner == me and ARGV[4] ~= '-1' and call('GET', KEYS[5]) ~= ARGV[4] then
  call('SET', KEYS[5], ARGV[4])
end
local reply = call('ZRANGE', KEYS[3], 0, -1)
table.insert(reply, 1, token)
table.insert(reply, 1, owner)
return reply
