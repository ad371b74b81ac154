-- resume: hand out the jobs of a paused, tripped or throttled site again.
--
-- Writes site:<site>, config:<site>, q:*:{turn, bell}. Reads queues, q:*:line:*.
-- ARGV  site.
-- Gives "resumed", or "open" when nothing held the site back.
local site = ARGV[1]
local gone = redis.call('HDEL', site_key(site), 'paused', 'paused_at', 'tripped', 'tripped_at', 'probe_at',
  'probe_ms', 'throttled_until', 'failures', 'key_tripped')
-- Whether it works, and with which key, is to be seen.
for _, field in ipairs(redis.call('HKEYS', config_key(site))) do
  if string.match(field, '^refused ') then redis.call('HDEL', config_key(site), field) end
end
redis.call('HDEL', site_key(site), 'ramp', 'success_at')
line_up_anew(site)
return gone > 0 and 'resumed' or 'open'
