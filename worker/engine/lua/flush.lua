-- flush: drop waiting jobs of a queue, up to n a call; running ones are left alone.
--
-- Writes q:<queue>:{line:*, lines, turn, delayed, deadlines}, job:<id>, msg:<id>, hist:<id>.
-- ARGV  queue, n.
-- Gives how many were dropped; call again until it gives 0.
local queue, limit = ARGV[1], tonumber(ARGV[2])
local dropped = 0
local function drop(id)
  local state = redis.call('HGET', job_key(id), 'state')
  if state == 'queued' or state == 'delayed' then
    redis.call('DEL', job_key(id), msg_key(id), hist_key(id))
  end
  redis.call('ZREM', queue_key(queue, 'deadlines'), id)
  dropped = dropped + 1
end
for _, site in ipairs(redis.call('SMEMBERS', queue_key(queue, 'lines'))) do
  for _, lane in ipairs({ 'interactive', 'bulk' }) do
    while dropped < limit do
      local id = redis.call('LPOP', line_key(queue, site, lane))
      if not id then break end
      drop(id)
    end
  end
  if redis.call('EXISTS', line_key(queue, site, 'interactive'), line_key(queue, site, 'bulk')) == 0 then
    redis.call('SREM', queue_key(queue, 'lines'), site)
    redis.call('ZREM', queue_key(queue, 'turn'), site)
  end
end
if dropped < limit then
  for _, id in ipairs(redis.call('ZRANGE', queue_key(queue, 'delayed'), 0, limit - dropped - 1)) do
    redis.call('ZREM', queue_key(queue, 'delayed'), id)
    drop(id)
  end
end
return dropped
