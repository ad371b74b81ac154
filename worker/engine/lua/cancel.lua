-- cancel: end a waiting job at once, or a running one after its attempt.
--
-- Writes job:<id>, out:<id>, msg:<id>, held, q:<queue>:{delayed, deadlines}, outcomes, channel done:<id>.
-- A cancelled job leaves its line when the line reaches it.
-- ARGV  id, ttl_ms, stream_max.
-- Gives "cancelled", "cancelling" (it runs), "missing", or the terminal state it already has.
local job = read_job(ARGV[1])
if not job then return 'missing' end
redis.call('DEL', P .. 'void')
if job.state == 'running' then
  redis.call('HSET', job_key(job.id), 'cancel', '1')
  return 'cancelling'
end
if job.state == 'queued' or job.state == 'delayed' or job.state == 'held' then
  redis.call('ZREM', queue_key(job.queue, 'delayed'), job.id)
  redis.call('ZREM', P .. 'held', job.id)
  local out = job.mode == 'job' and outcome_of(job, 'cancelled', 'cancelled', 'cancelled') or ''
  conclude(job, 'cancelled', out, ARGV[2], ARGV[3])
  return 'cancelled'
end
return job.state
