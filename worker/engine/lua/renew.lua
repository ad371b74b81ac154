-- renew: extend the leases of one worker and name those it no longer holds.
--
-- Reads job:<id>; writes q:<queue>:leases.
-- ARGV  queue, lease_ms, then n pairs: id, fence.
-- Gives the ids that are not this worker's any more.
local leases = queue_key(ARGV[1], 'leases')
local until_ms = NOW + tonumber(ARGV[2])
local lost = {}
redis.call('DEL', queue_key(ARGV[1], 'void'))
keep_time()
for i = 3, #ARGV, 2 do
  local held = redis.call('HMGET', job_key(ARGV[i]), 'state', 'fence')
  if held[1] == 'running' and held[2] == ARGV[i + 1] then
    redis.call('ZADD', leases, 'XX', until_ms, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
