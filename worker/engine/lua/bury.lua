-- bury: set n jobs aside with their reason: dead (a failed outcome is published) or held (for a person).
--
-- Writes job:<id>, out:<id>, msg:<id>, hist:<id>, dead, held, q:<queue>:{leases, turn, deadlines, bell},
-- site:<site>, outcomes, channel done:<id>; and what enqueue touches for messages that follow.
-- ARGV  stream_max, then n endings: id, fence, state ("failed" | "held"), class, reason, outcome ('' lets
--       this script write it), ttl_ms, attempt, counted, message ('' keeps the stored one), f and f
--       entries of 11 (see enqueue) that are taken in together with the ending.
-- Gives n times 1 or 0 (refused).
--
-- A message that was sent again while it ran goes on living: the send must not be lost with the run.
local stream_max = ARGV[1]
local reply = {}
local rung = {}
redis.call('DEL', P .. 'void')
local i = 2
while i <= #ARGV do
  local id, state, class, reason, out = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local followers = tonumber(ARGV[i + 10])
  local job = end_lease(id, ARGV[i + 1], class == 'rejected' and 'good')
  if job then
    if ARGV[i + 8] == '1' then
      job.attempts = redis.call('HINCRBY', job_key(id), 'attempts', 1)
    end
    note_attempt(job, ARGV[i + 7])
    local lives = follow(job, i + 11, followers, rung)
    if job.again and not lives then
      live_on(job, tonumber(job.again))
      rung[job.queue] = true
      lives = true
    end
    if lives then
      redis.call('HSET', job_key(id), 'reason', reason)
    else
      if ARGV[i + 9] ~= '' then redis.call('SET', msg_key(id), ARGV[i + 9]) end
      to_dead_letters(job, state, reason)
      if state == 'held' then
        -- A job that no worker has the key of was never sent.
        if class ~= 'misconfigured' then remember_unsure(job) end
        redis.call('HSET', job_key(id), 'state', 'held', 'held_at', NOW, 'deliveries', 0)
        redis.call('HDEL', job_key(id), 'worker', 'cancel')
        redis.call('PUBLISH', P .. 'done:' .. id, 'held')
      else
        if out == '' and job.mode == 'job' then out = outcome_of(job, 'failed', class, reason) end
        conclude(job, 'failed', out, ARGV[i + 6], stream_max)
      end
    end
  end
  reply[#reply + 1] = job and 1 or 0
  i = i + 11 + followers * ENTRY_SIZE
end
for queue in pairs(rung) do ring(queue) end
return reply
