-- finish: end n jobs: result, stream entry, wake-up and the end of the lease in one step each.
--
-- Writes job:<id>, out:<id>, msg:<id>, hist:<id>, q:<queue>:{leases, turn, deadlines, bell}, site:<site>,
-- outcomes, channel done:<id>; and what enqueue touches for messages that follow from the ending.
-- ARGV  stream_max, then n endings: id, fence, state, outcome, ttl_ms, attempt, counted, f and f entries
--       of 11 (see enqueue) that are taken in together with the ending.
-- Gives n times 1 (ended) or 0 (refused: the lease is not this one any more).
--
-- A message may follow itself (a retry made by a middleware): then it goes on living instead of ending.
local stream_max = ARGV[1]
local reply = {}
local rung = {}
redis.call('DEL', P .. 'void')
local i = 2
while i <= #ARGV do
  local id, followers = ARGV[i], tonumber(ARGV[i + 7])
  local job = end_lease(id, ARGV[i + 1], ARGV[i + 2] == 'succeeded' and 'well')
  if job then
    if ARGV[i + 6] == '1' then redis.call('HINCRBY', job_key(id), 'attempts', 1) end
    if not follow(job, i + 8, followers, rung) then
      if job.again then
        live_on(job, tonumber(job.again))
        rung[job.queue] = true
      else
        if ARGV[i + 5] ~= '' then redis.call('HSET', job_key(id), 'last', ARGV[i + 5]) end
        conclude(job, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], stream_max)
      end
    end
  end
  reply[#reply + 1] = job and 1 or 0
  i = i + 8 + followers * ENTRY_SIZE
end
for queue in pairs(rung) do ring(queue) end
return reply
