-- fetch: move what is due, then lease up to n jobs of the sites that have budget, in fair order.
--
-- Reads and writes q:<queue>:{delayed, leases, deadlines, turn, line:*, bell}, job:<id>, msg:<id>,
-- site:<site>, and what an ending touches when a job is buried or expires here.
-- ARGV  queue, worker, n, lease_ms, max_deliveries, ttl_ms, stream_max, max_version.
-- Gives {now, look_at, job...}: `look_at` (ms, 0 = nothing is coming) is when to call again at the latest;
-- a job is {id, message, fence, deliveries, attempts, enqueued_at, first_delivery_at, unsure_since,
-- deadline_at, epoch, site, lane}, '' where not set.
--
-- The first write is one that a full Redis allows: a queue must drain when memory is short.
local queue, worker, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lease_ms, max_deliveries = tonumber(ARGV[4]), tonumber(ARGV[5])
local ttl_ms, stream_max, max_version = ARGV[6], ARGV[7], tonumber(ARGV[8])
local SWEEP = 256 -- how many of each kind one call moves, so that no call is long
local SUSPECT_MS = 250 -- until a line is looked at again in which only suspects are left

local delayed, leases = queue_key(queue, 'delayed'), queue_key(queue, 'leases')
local deadlines, turn = queue_key(queue, 'deadlines'), queue_key(queue, 'turn')
redis.call('DEL', queue_key(queue, 'void'))

local function due(key)
  return redis.call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, SWEEP)
end

local function expire(job)
  redis.call('ZREM', delayed, job.id)
  local out = job.mode == 'job' and outcome_of(job, 'expired', 'expired', 'deadline', true) or ''
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

local function take_back_lapsed()
  local ids = due(leases)
  for i = #ids, 1, -1 do -- from the last, so that the oldest ends up at the head
    local id = ids[i]
    redis.call('ZREM', leases, id)
    local job = read_job(id)
    if job and job.state == 'running' then
      free_slot(queue, job.site)
      remember_unsure(job)
      if tonumber(job.deliveries) >= max_deliveries then
        bury(job, 'poison', 'no ending after ' .. job.deliveries .. ' deliveries', ttl_ms, stream_max)
      elseif job.cancel then
        conclude(job, 'cancelled', job.mode == 'job'
          and outcome_of(job, 'cancelled', 'cancelled', 'cancelled', true) or '', ttl_ms, stream_max)
      else
        redis.call('HSET', job_key(id), 'state', 'queued')
        redis.call('HDEL', job_key(id), 'worker')
        into_line(queue, job.site, job.lane, id, true)
      end
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

promote_delayed()
take_back_lapsed()
expire_late()

local reply = { NOW, 0 }
local sites = {}

local function site_of(name)
  local site = sites[name]
  if not site then
    local s = redis.call('HMGET', site_key(name), 'interval_ms', 'burst_ms', 'tat', 'max_in_flight',
      'in_flight', 'paused_until', 'pace', 'pace_at', 'climb_ms', 'probe_at')
    site = { interval = tonumber(s[1] or 0), burst = tonumber(s[2] or 0), tat = tonumber(s[3] or 0),
      cap = tonumber(s[4] or 0), in_flight = tonumber(s[5] or 0), paused = tonumber(s[6] or 0), served = 0 }
    if s[10] then site.cap = 1 end -- a probe
    if s[7] then
      site.paced = true
      site.interval = site.interval / pace_of(tonumber(s[7]), tonumber(s[8]), tonumber(s[9]))
    end
    sites[name] = site
  end
  return site
end

-- A job on its last delivery is a suspect: it may be what ended its workers, or it only ran beside
-- that. A worker holds one suspect at a time, so those that ran together do not all end together.
local suspects = queue_key(queue, 'suspects')
local held_suspect = redis.call('HGET', suspects, worker)
if held_suspect then
  local held = redis.call('HMGET', job_key(held_suspect), 'state', 'worker')
  if held[1] ~= 'running' or held[2] ~= worker then
    redis.call('HDEL', suspects, worker)
    held_suspect = false
  end
end
local kept = {} -- suspects that this worker may not have now, by line, in their order
local kept_count = 0

local function is_suspect(job)
  local ended_none = tonumber(job.deliveries or 0)
  return ended_none > 0 and ended_none + 1 >= max_deliveries
end

-- Lease the job if it may run; false when it is not to be handed out (the line goes on).
local function lease(id)
  local job = read_job(id)
  if not job or job.state ~= 'queued' then return false end
  if job.cancel then -- it ran when it was cancelled, and was given back without an attempt's ending
    conclude(job, 'cancelled', job.mode == 'job'
      and outcome_of(job, 'cancelled', 'cancelled', 'cancelled', true) or '', ttl_ms, stream_max)
    return false
  end
  if job.deadline_at and tonumber(job.deadline_at) <= NOW then
    expire(job)
    return false
  end
  if not tonumber(job.v) or tonumber(job.v) > max_version then
    bury(job, 'invalid', 'record version ' .. string.sub(tostring(job.v), 1, 8) .. ' is not known', ttl_ms, stream_max)
    return false
  end
  local message = redis.call('GET', msg_key(id))
  if not message then
    bury(job, 'invalid', 'the record has no message', ttl_ms, stream_max)
    return false
  end
  if is_suspect(job) then
    if held_suspect then
      local line = line_key(queue, job.site, job.lane)
      kept[line] = kept[line] or { site = job.site }
      table.insert(kept[line], id)
      kept_count = kept_count + 1
      return false
    end
    held_suspect = id
    redis.call('HSET', suspects, worker, id)
    redis.call('PEXPIRE', suspects, 86400000)
  end
  local fence = tonumber(job.fence or 0) + 1
  local deliveries = tonumber(job.deliveries or 0) + 1
  local first = job.first_delivery_at or NOW
  redis.call('HSET', job_key(id), 'state', 'running', 'worker', worker, 'fence', fence,
    'deliveries', deliveries, 'delivered_at', NOW, 'first_delivery_at', first)
  redis.call('ZADD', leases, NOW + lease_ms, id)
  reply[#reply + 1] = { id, message, fence, deliveries, tonumber(job.attempts or 0), job.enqueued_at,
    first, job.unsure_since or '', job.deadline_at or '', job.epoch or '0', job.site, job.lane }
  return true
end

-- Serve one job of the site at the head of the order; false when its line is empty.
local function serve(name, order)
  local id = redis.call('LPOP', line_key(queue, name, 'interactive'))
    or redis.call('LPOP', line_key(queue, name, 'bulk'))
  if not id then
    redis.call('ZREM', turn, name)
    return false
  end
  if not lease(id) then return false end
  local site = site_of(name)
  site.served = site.served + 1
  site.in_flight = site.in_flight + 1
  local at = math.max(NOW, site.paused)
  if site.interval > 0 then
    site.tat = math.max(site.tat, NOW) + site.interval
    at = math.max(at, site.tat - site.burst)
  end
  if site.cap > 0 and site.in_flight >= site.cap then
    redis.call('ZREM', turn, name)
  else
    -- The fraction keeps those served in the same millisecond in the order of service, and behind
    -- those that were not served yet.
    redis.call('ZADD', turn, math.floor(at) + (order + 1) / 4096, name)
  end
  return true
end

local tries, limit = 0, wanted * 2 + 64
local served = 0
while served < wanted and tries < limit + math.min(kept_count, SWEEP) do
  tries = tries + 1
  local head = redis.call('ZRANGE', turn, 0, 0, 'WITHSCORES')
  if not head[1] or math.floor(tonumber(head[2])) > NOW then break end
  if serve(head[1], served) then served = served + 1 end
end

for name, site in pairs(sites) do
  redis.call('HINCRBY', site_key(name), 'in_flight', site.served)
  if site.paced then redis.call('HINCRBY', site_key(name), 'counted', site.served) end
  if site.interval > 0 then redis.call('HSET', site_key(name), 'tat', string.format('%.3f', site.tat)) end
end

for line, ids in pairs(kept) do
  for i = #ids, 1, -1 do redis.call('LPUSH', line, ids[i]) end
  if line_up(queue, ids.site) or served < wanted then
    -- Nothing else is left in this line for now; a neighbour that holds no suspect may come sooner.
    redis.call('ZADD', turn, 'XX', 'GT', NOW + SUSPECT_MS, ids.site)
  end
end

-- When something comes next; and whether an idle neighbour should look at once.
local look_at = 0
local function look(key)
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if head[1] then
    local at = math.floor(tonumber(head[2]))
    if look_at == 0 or at < look_at then look_at = at end
    return at <= NOW
  end
  return false
end
local more = look(turn)
more = look(delayed) or more
more = look(leases) or more
more = look(deadlines) or more
if more then
  ring(queue)
else
  redis.call('DEL', queue_key(queue, 'bell'))
end
reply[2] = look_at
return reply
