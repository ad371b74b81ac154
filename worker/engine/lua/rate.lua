-- rate: change a site's rate by hand, or go back to the one of the settings.
--
-- Writes site:<site>, sites, q:*:{turn, bell}. Reads queues, q:*:line:*. Workers that start, or write their
-- settings again, leave a rate set by hand alone.
-- ARGV  site, rate (calls a minute as the person said, for display; '' = as the settings say),
--       interval_ms (0 = no limit), burst_ms.
-- Gives "by_hand" or "settings".
local site, rate, interval_ms, burst_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = site_key(site)
redis.call('DEL', P .. 'void')
if rate == '' then
  redis.call('HDEL', key, 'hand_rate', 'hand_rate_at')
  local set = redis.call('HMGET', key, 'set_interval_ms', 'set_burst_ms')
  interval_ms, burst_ms = set[1] or 0, set[2] or 0
else
  redis.call('HSET', key, 'hand_rate', rate, 'hand_rate_at', NOW)
end
redis.call('HSET', key, 'interval_ms', interval_ms, 'burst_ms', burst_ms)
redis.call('SADD', P .. 'sites', site)
-- The old rate may have put the clock far ahead: the new one counts from now.
local latest = NOW + interval_ms + burst_ms
local tat = tonumber(redis.call('HGET', key, 'tat') or 0)
if tat > latest then redis.call('HSET', key, 'tat', string.format('%.3f', latest)) end
line_up_anew(site)
return rate == '' and 'settings' or 'by_hand'
