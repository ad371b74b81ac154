-- finish: end n jobs: result, stream entry, wake-up and the end of the lease in one step each.
--
-- Writes job:<id>, out:<id>, msg:<id>, hist:<id>, q:<queue>:{leases, turn, deadlines, bell}, site:<site>,
-- outcomes, channel done:<id>; and what enqueue touches for messages that follow from the ending.
-- ARGV  stream_max, then n endings: id, fence, state, outcome, ttl_ms, attempt, counted, f and f entries
--       of 11 (see enqueue) that are taken in together with the ending.
-- Gives n times 1 (ended) or 0 (refused: the lease is not this one any more).
--
-- A message may follow itself (a retry made by a middleware): then it goes on living instead of ending.
local FIELDS_OF_FINISH = { 'state', 'fence', 'queue', 'site', 'mode', 'actor', 'attempts', 'deadline_at',
  'again' }
local stream_max = ARGV[1]
local reply = {}
local rung = {}
local well = {} -- sites of which a call was answered
redis.call('DEL', P .. 'void')
local i = 2
while i <= #ARGV do
  local id, followers = ARGV[i], tonumber(ARGV[i + 7])
  local job = end_lease_later(id, ARGV[i + 1], FIELDS_OF_FINISH)
  if job then
    if ARGV[i + 2] == 'succeeded' then well[job.site] = true end
    local more = {} -- fields that are written together with the state
    if ARGV[i + 6] == '1' then more[1], more[2] = 'attempts', tonumber(job.attempts or 0) + 1 end
    local lives = follow(job, i + 8, followers, rung)
    if job.again and not lives then
      live_on(job, tonumber(job.again))
      rung[job.queue] = true
      lives = true
    end
    if not lives then
      if ARGV[i + 5] ~= '' then
        more[#more + 1] = 'last'
        more[#more + 1] = ARGV[i + 5]
      end
      conclude(job, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], stream_max, more)
    elseif more[1] then
      redis.call('HSET', job_key(id), unpack(more))
    end
  end
  reply[#reply + 1] = job and 1 or 0
  i = i + 8 + followers * ENTRY_SIZE
end
settle(well)
for queue in pairs(rung) do ring(queue) end
return reply
