-- replay: run a failed, expired, cancelled or held job again, under the same id.
--
-- Writes job:<id>, out:<id>, msg:<id>, hist:<id>, dead, held, q:<queue>:{line:*, turn, bell}.
-- ARGV  id, window_ms, new_key ("1" gives the next attempt a new idempotency key).
-- Gives "queued", "needs_new_key" (an earlier attempt is unknown and its window is over), "missing",
-- "gone" (the message was dropped), or the state that cannot be replayed.
local id, window_ms, new_key = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local job = read_job(id)
if not job then return 'missing' end
if job.state ~= 'failed' and job.state ~= 'expired' and job.state ~= 'cancelled' and job.state ~= 'held' then
  return job.state
end
if redis.call('EXISTS', msg_key(id)) == 0 then return 'gone' end
if job.unsure_since and NOW - tonumber(job.unsure_since) > window_ms and not new_key then
  return 'needs_new_key'
end
redis.call('HSET', job_key(id), 'state', 'queued', 'attempts', 0, 'deliveries', 0, 'replayed_at', NOW)
redis.call('HDEL', job_key(id), 'finished_at', 'held_at', 'deadline_at', 'reason', 'cancel', 'last')
if new_key then
  redis.call('HINCRBY', job_key(id), 'epoch', 1)
  if job.unsure_since then redis.call('HINCRBY', job_key(id), 'orphans', 1) end
  redis.call('HDEL', job_key(id), 'unsure_since')
end
redis.call('DEL', out_key(id))
for _, key in ipairs({ job_key(id), msg_key(id), hist_key(id) }) do redis.call('PERSIST', key) end
redis.call('ZREM', P .. 'dead', id)
redis.call('ZREM', P .. 'held', id)
redis.call('ZREM', queue_key(job.queue, 'deadlines'), id)
into_line(job.queue, job.site, job.lane, id, false)
ring(job.queue)
return 'queued'
