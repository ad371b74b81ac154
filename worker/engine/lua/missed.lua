-- missed: tell a group once what was cut before it had handled it.
--
-- Writes missed.
-- ARGV  group.
-- Gives {entries, Unix ms of the first}; {} when it missed nothing.
local missed, count, since = P .. 'missed', 'count ' .. ARGV[1], 'since ' .. ARGV[1]
local found = redis.call('HMGET', missed, count, since)
if not found[1] then return {} end
redis.call('HDEL', missed, count, since)
return { tonumber(found[1]), tonumber(found[2]) }
