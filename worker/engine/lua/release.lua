-- release: give n leased jobs back to the head of their lines at once, no delivery counted.
--
-- Writes job:<id>, q:<queue>:{leases, line:*, turn, bell}, site:<site>.
-- ARGV  n endings of 3: id, fence, unsure ("1" when the API may have executed the attempt).
-- Gives n times 1 or 0 (refused).
local reply = {}
local rung = {}
redis.call('DEL', P .. 'void')
for i = #ARGV - 2, 1, -3 do -- from the last, so that they stand in the order they had
  local id = ARGV[i]
  local job = end_lease(id, ARGV[i + 1])
  if job then
    if ARGV[i + 2] == '1' then remember_unsure(job) end
    redis.call('HSET', job_key(id), 'state', 'queued',
      'deliveries', math.max(0, tonumber(job.deliveries) - 1))
    redis.call('HDEL', job_key(id), 'worker')
    into_line(job.queue, job.site, job.lane, id, true)
    rung[job.queue] = true
  end
  table.insert(reply, 1, job and 1 or 0)
end
for queue in pairs(rung) do ring(queue) end
return reply
