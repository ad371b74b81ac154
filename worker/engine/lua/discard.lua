-- discard: drop a dead letter for good, or end a held job as failed; a person has decided.
--
-- Writes job:<id>, out:<id>, msg:<id>, dead, held, outcomes, channel done:<id>.
-- ARGV  id, ttl_ms, stream_max.
-- Gives "discarded", "missing", or the state that cannot be discarded.
local job = read_job(ARGV[1])
if not job then
  redis.call('ZREM', P .. 'dead', ARGV[1])
  return 'missing'
end
redis.call('DEL', P .. 'void')
if job.state == 'held' then
  redis.call('ZREM', P .. 'held', job.id)
  local out = job.mode == 'job' and outcome_of(job, 'failed', 'discarded', 'discarded by a person') or ''
  conclude(job, 'failed', out, ARGV[2], ARGV[3])
elseif job.state == 'failed' or job.state == 'expired' or job.state == 'cancelled' then
  redis.call('ZREM', P .. 'dead', job.id)
else
  return job.state
end
redis.call('DEL', msg_key(job.id))
return 'discarded'
