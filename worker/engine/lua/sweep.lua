-- sweep: what time has brought since the last fetch. The first part of the fetch script: it stands before
-- fetch.lua, which has its arguments and its reply.
--
-- Reads and writes q:<queue>:{delayed, leases, deadlines, newer, losses}, and what an ending touches when a
-- job is buried or expires here.
--
-- The first write is one that a full Redis allows: a queue must drain when memory is short.
local queue, worker, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lease_ms, max_deliveries = tonumber(ARGV[4]), tonumber(ARGV[5])
local ttl_ms, stream_max, max_version = ARGV[6], ARGV[7], tonumber(ARGV[8])
local expected = tonumber(ARGV[9]) -- what the worker takes the time to be, or nil
local FORWARD_MS = 6000 -- by which Redis time may be later than a worker expects; a reply takes less
local SWEEP = 256 -- how many of each kind one call moves, so that no call is long
local NEWER_MS = 60000 -- that a record of the next version waits for workers that know it
local LOSS_LEASES = 10 -- for so many leases a lost worker is remembered
local LOSSES = 4 -- lost workers that no job can be blamed for, from which on a loss says little of a job

local delayed, leases = queue_key(queue, 'delayed'), queue_key(queue, 'leases')
local deadlines, turn = queue_key(queue, 'deadlines'), queue_key(queue, 'turn')
local newer = queue_key(queue, 'newer')
redis.call('DEL', queue_key(queue, 'void'))
keep_time()

-- The earliest of the key's times (ms), or nil.
local function first_of(key)
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return head[1] and math.floor(tonumber(head[2]))
end

local function due(key)
  return redis.call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, SWEEP)
end

local function expire(job)
  redis.call('ZREM', delayed, job.id)
  local out = job.mode == 'job' and outcome_of(job, 'expired', 'expired', 'deadline') or ''
  conclude(job, 'expired', out, ttl_ms, stream_max)
end

local function promote_delayed()
  for _, id in ipairs(due(delayed)) do
    redis.call('ZREM', delayed, id)
    local job = read_job(id)
    if job and job.state == 'delayed' then
      redis.call('HSET', job_key(id), 'state', 'queued')
      into_line(queue, job.site, job.lane, id, false)
    end
  end
end

-- Remember the workers that left these jobs behind, by when: below zero when a job is among them that
-- another worker has left behind before, and may be to blame.
local losses = queue_key(queue, 'losses')
local function note_losses(jobs)
  local lost = {}
  for _, job in ipairs(jobs) do
    local worker = redis.call('HGET', job_key(job.id), 'worker') or ''
    if tonumber(job.deliveries) > 1 then lost[worker] = -NOW end
    lost[worker] = lost[worker] or NOW
  end
  local remembered_ms = LOSS_LEASES * lease_ms
  redis.call('ZREMRANGEBYSCORE', losses, remembered_ms - NOW, NOW - remembered_ms)
  for worker, at in pairs(lost) do
    if at < 0 then redis.call('ZADD', losses, at, worker) else redis.call('ZADD', losses, 'NX', at, worker) end
  end
  redis.call('PEXPIRE', losses, remembered_ms)
end

-- Deliveries without an ending that make a job poison: twice as many while workers die anyway.
local function too_many()
  return redis.call('ZCOUNT', losses, 0, '+inf') < LOSSES and max_deliveries or 2 * max_deliveries
end

local function take_back_lapsed()
  local jobs = {}
  for _, id in ipairs(due(leases)) do
    redis.call('ZREM', leases, id)
    local job = read_job(id)
    if job and job.state == 'running' then jobs[#jobs + 1] = job end
  end
  note_losses(jobs)
  for i = #jobs, 1, -1 do -- from the last, so that the oldest ends up at the head
    local job = jobs[i]
    free_slot(queue, job.site)
    remember_unsure(job)
    if tonumber(job.deliveries) >= max_deliveries and tonumber(job.deliveries) >= too_many() then
      bury(job, 'poison', 'no ending after ' .. job.deliveries .. ' deliveries', ttl_ms, stream_max)
    elseif job.cancel then
      conclude(job, 'cancelled', job.mode == 'job'
        and outcome_of(job, 'cancelled', 'cancelled', 'cancelled') or '', ttl_ms, stream_max)
    else
      redis.call('HSET', job_key(job.id), 'state', 'queued')
      redis.call('HDEL', job_key(job.id), 'worker')
      into_line(queue, job.site, job.lane, job.id, true)
    end
  end
end

-- Records of the next version stand aside for the workers of a fleet that is being upgraded. When none
-- comes, they are dead letters, to be replayed once there is one.
local function look_at_newer()
  local rows = redis.call('ZRANGE', newer, 0, SWEEP - 1, 'WITHSCORES')
  for i = #rows - 1, 1, -2 do
    local id, since = rows[i], tonumber(rows[i + 1])
    local job = read_job(id)
    if not job or job.state ~= 'queued' then
      redis.call('ZREM', newer, id)
    elseif tonumber(job.v) <= max_version then
      redis.call('ZREM', newer, id)
      into_line(queue, job.site, job.lane, id, true)
    elseif since <= NOW - NEWER_MS then
      redis.call('ZREM', newer, id)
      bury(job, 'invalid', 'record version ' .. string.sub(job.v, 1, 8) .. ' is not known', ttl_ms, stream_max)
    end
  end
end

local function expire_late()
  for _, id in ipairs(due(deadlines)) do
    redis.call('ZREM', deadlines, id)
    local job = read_job(id)
    if job and (job.state == 'queued' or job.state == 'delayed') then expire(job) end
  end
end

local look_at = 0 -- when something comes next
local function look(at)
  if at and (look_at == 0 or at < look_at) then look_at = at end
end
local function sweep(key, move)
  local at = first_of(key)
  if at and at <= NOW then
    move()
    at = first_of(key)
  end
  look(at)
end
sweep(delayed, promote_delayed)

-- After a step forward every lease has lapsed at once. The workers that live renew theirs within a lease.
local grace_until = tonumber(redis.call('HGET', P .. 'time', 'grace_until') or 0)
if expected and NOW - expected > FORWARD_MS and first_of(leases) then
  grace_until = NOW + lease_ms
  redis.call('HSET', P .. 'time', 'grace_until', string.format('%d', grace_until))
end
if NOW < grace_until then look(grace_until) else sweep(leases, take_back_lapsed) end
sweep(deadlines, expire_late)
if first_of(newer) then look_at_newer() end
