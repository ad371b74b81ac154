-- resume: hand out the jobs of a parked or paused site again.
--
-- Writes site:<site>, q:*:{turn, bell}. Reads queues, q:*:line:*.
-- ARGV  site.
-- Gives "resumed", or "open" when nothing held the site back.
local site = ARGV[1]
local opened = redis.call('HDEL', site_key(site), 'parked', 'parked_at', 'paused_until', 'probe_at',
  'probe_ms', 'failing')
-- Whether it works is to be seen.
redis.call('HDEL', site_key(site), 'trust', 'well_at')
line_up_anew(site)
return opened > 0 and 'resumed' or 'open'
