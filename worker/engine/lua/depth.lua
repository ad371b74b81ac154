-- depth: how many jobs of a queue wait, are delayed and run.
--
-- Reads q:<queue>:{lines, line:*, delayed, leases}.
-- ARGV  queue.
-- Gives {waiting, delayed, running}. A job cancelled in its line counts until the line reaches it.
local queue = ARGV[1]
local waiting = 0
for _, site in ipairs(redis.call('SMEMBERS', queue_key(queue, 'lines'))) do
  waiting = waiting + redis.call('LLEN', line_key(queue, site, 'interactive'))
    + redis.call('LLEN', line_key(queue, site, 'bulk'))
end
return { waiting, redis.call('ZCARD', queue_key(queue, 'delayed')), redis.call('ZCARD', queue_key(queue, 'leases')) }
