-- missed: look what was cut before a group had handled it; or forget what it was told.
--
-- Writes missed.
-- ARGV  group, and the entries that it is told of now.
-- Gives {entries, Unix ms of the first}, or {} when it missed nothing; 1 when it is to be told, 0 when another
-- consumer tells it.
local missed, count, since = P .. 'missed', 'count ' .. ARGV[1], 'since ' .. ARGV[1]
local found = redis.call('HMGET', missed, count, since)
local entries, told = tonumber(found[1] or 0), tonumber(ARGV[2])
if not told then return entries > 0 and { entries, tonumber(found[2]) } or {} end
if entries < told then return 0 end
if entries == told then
  redis.call('HDEL', missed, count, since)
else
  redis.call('HINCRBY', missed, count, -told)
end
return 1
