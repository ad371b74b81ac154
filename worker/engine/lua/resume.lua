-- resume: hand out the jobs of a paused, tripped or throttled site again.
--
-- Writes site:<site>, q:*:{turn, bell}. Reads queues, q:*:line:*.
-- ARGV  site.
-- Gives "resumed", or "open" when nothing held the site back.
local site = ARGV[1]
local gone = redis.call('HDEL', site_key(site), 'paused', 'paused_at', 'tripped', 'tripped_at', 'probe_at',
  'probe_ms', 'throttled_until', 'failures', 'key_tripped')
-- Whether it works is to be seen.
redis.call('HDEL', site_key(site), 'ramp', 'success_at')
line_up_anew(site)
return gone > 0 and 'resumed' or 'open'
