-- retry: n jobs go on later: attempt counted or not, due time, the site throttled or tripped, lease gone.
--
-- Writes job:<id>, hist:<id>, q:<queue>:{leases, delayed, line:*, turn, bell}, site:<site>; a job that was
-- cancelled while it ran ends here as finish would end it.
-- ARGV  ttl_ms, stream_max, then n endings of 11: id, fence, delay_ms, counted, unsure, attempt,
--       throttle_site_ms, new_epoch, trip_reason, failing, key_mark. `unsure` = 1 when the API may have executed this attempt;
--       `new_epoch` = 1 when the next attempt needs a new idempotency key (a possible orphan is
--       recorded); a `trip_reason` trips the site: one job is tried now and then (first after
--       throttle_site_ms, if given, for one that is unavailable), unless it is about the one key that has this
--       `key_mark` and another key may do; `failing` = 1 when the attempt says that the site does not work.
-- Gives n times 1 or 0 (refused).
local ttl_ms, stream_max = ARGV[1], ARGV[2]
local reply = {}
local rung = {}
redis.call('DEL', P .. 'void')
for i = 3, #ARGV, 11 do
  local id, delay_ms = ARGV[i], tonumber(ARGV[i + 2])
  local job = end_lease(id, ARGV[i + 1], ARGV[i + 9] == '1' and 'failing')
  if job then
    if ARGV[i + 3] == '1' then
      job.attempts = redis.call('HINCRBY', job_key(id), 'attempts', 1)
    end
    if ARGV[i + 4] == '1' then remember_unsure(job) end
    note_attempt(job, ARGV[i + 5])
    local wait_ms = tonumber(ARGV[i + 6])
    if ARGV[i + 8] == '' then
      if wait_ms > 0 then throttle(job.site, wait_ms) end
    elseif ARGV[i + 9] == '1' then
      trip_unavailable(job.site, ARGV[i + 8], wait_ms)
    elseif ARGV[i + 10] ~= '' then
      refuse_key(job.site, ARGV[i + 8], ARGV[i + 10])
    else
      trip_refused(job.site, ARGV[i + 8])
    end
    if ARGV[i + 7] == '1' then
      redis.call('HINCRBY', job_key(id), 'epoch', 1)
      redis.call('HINCRBY', job_key(id), 'orphans', 1)
      redis.call('HDEL', job_key(id), 'unsure_since')
    end
    if job.cancel then
      conclude(job, 'cancelled', job.mode == 'job'
        and outcome_of(job, 'cancelled', 'cancelled', 'cancelled') or '', ttl_ms, stream_max)
    else
      live_on(job, delay_ms)
      rung[job.queue] = true
    end
  end
  reply[#reply + 1] = job and 1 or 0
end
for queue in pairs(rung) do ring(queue) end
return reply
