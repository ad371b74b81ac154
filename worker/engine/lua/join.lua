-- join: make a group that follows the outcomes; one that was removed goes on where it was.
--
-- Writes outcomes, missed.
-- ARGV  group, where a new group starts.
-- Gives 1 when it was made, 0 when it was there.
local stream, missed, left = P .. 'outcomes', P .. 'missed', 'left ' .. ARGV[1]
local place = redis.call('HGET', missed, left)
local start = place and string.match(place, '^%S+') or ARGV[2]
local made = redis.pcall('XGROUP', 'CREATE', stream, ARGV[1], start, 'MKSTREAM')
local is_there = made.err and string.find(made.err, 'BUSYGROUP', 1, true)
if made.err and not is_there then return made end
if place then redis.call('HDEL', missed, left) end
return is_there and 0 or 1
