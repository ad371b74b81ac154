-- reclaim: give back the leases of a worker that it does not know of: the reply was lost on the wire.
--
-- Only while no fetch of this worker is under way. Reads q:<queue>:leases and job:<id>; writes as release.
-- ARGV  queue, worker, then the ids it knows.
-- Gives the ids given back.
local queue, worker = ARGV[1], ARGV[2]
local known = {}
for i = 3, #ARGV do known[ARGV[i]] = true end
redis.call('DEL', P .. 'void')
local given = {}
local ids = redis.call('ZRANGE', queue_key(queue, 'leases'), 0, -1)
for i = #ids, 1, -1 do
  local id = ids[i]
  if not known[id] then
    local held = redis.call('HMGET', job_key(id), 'worker', 'fence')
    if held[1] == worker then
      local job = end_lease(id, held[2])
      if job then
        redis.call('HSET', job_key(id), 'state', 'queued',
          'deliveries', math.max(0, tonumber(job.deliveries) - 1))
        redis.call('HDEL', job_key(id), 'worker')
        into_line(queue, job.site, job.lane, id, true)
        given[#given + 1] = id
      end
    end
  end
end
if #given > 0 then ring(queue) end
return given
