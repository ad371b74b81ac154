-- explain: where a job is and what it waits for. Writes nothing.
--
-- Reads job:<id>, site:<site>, config:<site>, q:<queue>:line:<site>:*.
-- ARGV  id.
-- Gives {now, state, site, place, due_at, delivered_at, reason, paused, tripped, probe_at, throttled_until,
-- interval_ms, served}, '' where not set; served = 1 when a living worker has a key for the site. `place` is how many jobs of its site are before it, '' past the first 10,000; {} for a
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

-- Whether a living worker has a key for the site.
local function is_served(name)
  local said = redis.call('HGETALL', config_key(name))
  for i = 1, #said, 2 do
    local living = math.abs(NOW - string.match(said[i + 1], '^%d+')) <= LIVING_MS
    if living and string.match(said[i], '^key ') and said[i] ~= 'key none' then return 1 end
  end
  return ''
end

return { AT, job.state, job.site, place, more[1] or '', more[2] or '', more[3] or '',
  site[1] or '', site[2] or '', site[3] or '', site[4] or '', site[5] or '',
  is_served(job.site) }
