-- resume: hand out the jobs of a parked or paused site again.
--
-- Writes site:<site>, q:*:{turn, bell}. Reads queues, q:*:line:*.
-- ARGV  site.
-- Gives "resumed", or "open" when nothing held the site back.
local site = ARGV[1]
local opened = redis.call('HDEL', site_key(site), 'parked', 'parked_at', 'paused_until')
for _, queue in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
  redis.call('ZREM', queue_key(queue, 'turn'), site)
  if redis.call('EXISTS', line_key(queue, site, 'interactive'), line_key(queue, site, 'bulk')) > 0 then
    line_up(queue, site)
    ring(queue)
  end
end
return opened > 0 and 'resumed' or 'open'
