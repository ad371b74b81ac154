-- explain: where a job is and what it waits for. Writes nothing.
--
-- Reads job:<id>, site:<site>, q:<queue>:line:<site>:*.
-- ARGV  id.
-- Gives {now, state, site, place, due_at, delivered_at, reason, paused, tripped, probe_at, throttled_until,
-- interval_ms},
-- '' where not set. `place` is how many jobs of its site are before it, '' past the first 10,000; {} for a
-- job that is not known.
local job = read_job(ARGV[1])
if not job then return {} end
local more = redis.call('HMGET', job_key(job.id), 'due_at', 'delivered_at', 'reason')
local site = redis.call('HMGET', site_key(job.site), 'paused', 'tripped', 'probe_at', 'throttled_until',
  'interval_ms')
local place = ''
if job.state == 'queued' then
  place = redis.call('LPOS', line_key(job.queue, job.site, job.lane), job.id, 'MAXLEN', 10000) or ''
  if place ~= '' and job.lane == 'bulk' then
    place = place + redis.call('LLEN', line_key(job.queue, job.site, 'interactive'))
  end
end
return { AT, job.state, job.site, place, more[1] or '', more[2] or '', more[3] or '',
  site[1] or '', site[2] or '', site[3] or '', site[4] or '', site[5] or '' }
