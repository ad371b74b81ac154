-- behind: count the outcomes after one, for servers that do not know it.
--
-- Writes nothing.
-- ARGV  id of the one; most entries that this call counts.
-- Gives {entries, id of the last of them}.
local rows = redis.call('XRANGE', P .. 'outcomes', '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return { #rows, #rows > 0 and rows[#rows][1] or ARGV[1] }
