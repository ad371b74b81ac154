-- job: the record and its endings. The third of the parts put before every script.

local FIELDS = { 'state', 'mode', 'actor', 'queue', 'site', 'lane', 'fence', 'attempts', 'deliveries',
  'delivered_at', 'unsure_since', 'deadline_at', 'cancel', 'epoch', 'enqueued_at', 'first_delivery_at',
  'v', 'mark', 'again' }

-- The job record as a table of strings; fields that are not set are absent; nil when there is no record.
-- A script that handles many jobs names the `fields` that it needs, state first.
local function read_job(id, fields)
  fields = fields or FIELDS
  local values = redis.call('HMGET', job_key(id), unpack(fields))
  if not values[1] then return nil end
  local job = { id = id }
  for i = 1, #fields do
    if values[i] then job[fields[i]] = values[i] end
  end
  return job
end

-- A site may have a budget of its own for one of its hosts, such as acme/grow: the site is acme.
local function site_name(job) return string.match(job.site, '^[^/]*') end

-- Counts of the endings that no worker counts, in all and in this minute, as workers keep it for two
-- hours and a bit; another thousand sites would be a mistake.
local function count_ending(job, state, class)
  local where = site_name(job) .. '|' .. job.actor .. '|'
  local field = where .. state .. '|' .. class
  if redis.call('HLEN', P .. 'ended') < 1000 or redis.call('HEXISTS', P .. 'ended', field) == 1 then
    redis.call('HINCRBY', P .. 'ended', field, 1)
    local minute = P .. 'counts:' .. math.floor(NOW / 60000)
    redis.call('HINCRBY', minute, where .. 'jobs:' .. state, 1)
    redis.call('EXPIRE', minute, 7500)
  end
end

-- Classes after which sending the same request again is no use; as worker/retry/decision.py has them.
local FINAL_CLASSES = { cancelled = true, discarded = true, invalid = true, rejected = true }

-- The outcome of a job that ends without an answer of the API, as the workers write it.
local function outcome_of(job, state, class, reason)
  count_ending(job, state, class)
  local null = cjson.null
  return cjson.encode({
    job_id = job.id, kind = job.actor, site = site_name(job), state = state,
    attempts = tonumber(job.attempts or 0), hosted_page = null, offers = null, brand = null,
    expires_at = null, replayed = false, finished_at = NOW,
    error = { class = class, status = null, api_error_code = null, param = null, reason = reason,
      retryable = not FINAL_CLASSES[class] },
  })
end

-- The terminal step: state, result, stream entry and wake-up together.
-- `out` is the outcome (or a stored return value in mode "message"); '' publishes nothing. `more` has
-- further fields and values of the record.
local function conclude(job, state, out, ttl_ms, stream_max, more)
  local id = job.id
  redis.call('HSET', job_key(id), 'state', state, 'finished_at', AT, unpack(more or {}))
  redis.call('HDEL', job_key(id), 'worker', 'cancel', 'due_at', 'again')
  if job.deadline_at then redis.call('ZREM', queue_key(job.queue, 'deadlines'), id) end
  if out ~= '' then
    redis.call('SET', out_key(id), out, 'PX', ttl_ms)
    if job.mode == 'job' then
      redis.call('XADD', P .. 'outcomes', 'MAXLEN', '~', stream_max, '*',
        'job_id', id, 'kind', job.actor, 'site', site_name(job), 'state', state, 'outcome', out)
    end
    redis.call('PUBLISH', P .. 'done:' .. id, job.mode == 'job' and out or state)
  end
  redis.call('PEXPIRE', job_key(id), ttl_ms)
  -- There is a history once an attempt was followed by another, or by a burial.
  if job.fence ~= '1' or job.noted then redis.call('PEXPIRE', hist_key(id), ttl_ms) end
  if state == 'succeeded' then
    redis.call('DEL', msg_key(id))
  else
    redis.call('PEXPIRE', msg_key(id), ttl_ms)
  end
end

-- Put a job into the list of the dead (terminal) or of the held (a person decides), with its reason.
local function to_dead_letters(job, state, reason)
  redis.call('HSET', job_key(job.id), 'reason', reason)
  -- The oldest go once their records have gone by age; one is added and up to four leave.
  for _, old in ipairs(redis.call('ZRANGE', P .. 'dead', 0, 3)) do
    if redis.call('EXISTS', job_key(old)) == 0 then redis.call('ZREM', P .. 'dead', old) end
  end
  redis.call('ZADD', P .. (state == 'held' and 'held' or 'dead'), NOW, job.id)
end

local function bury(job, class, reason, ttl_ms, stream_max)
  to_dead_letters(job, 'failed', reason)
  local out = job.mode == 'job' and outcome_of(job, 'failed', class, reason) or ''
  conclude(job, 'failed', out, ttl_ms, stream_max)
end

-- End the lease if it is still this one; the fence counts deliveries and never goes back.
local function end_lease(id, fence, word)
  local job = read_job(id)
  if not job or job.state ~= 'running' or job.fence ~= fence then return nil end
  redis.call('ZREM', queue_key(job.queue, 'leases'), id)
  free_slot(job.queue, job.site, word)
  return job
end

-- Leases that `end_lease_later` has ended: queue -> ids, and the slots they free: queue -> site -> number.
local ended, freed = {}, {}

-- The same for scripts that end many leases with success: `settle` writes once what they have in common.
local function end_lease_later(id, fence, fields)
  local job = read_job(id, fields)
  if not job or job.state ~= 'running' or job.fence ~= fence then return nil end
  local queue = job.queue
  if not ended[queue] then ended[queue], freed[queue] = {}, {} end
  table.insert(ended[queue], id)
  freed[queue][job.site] = (freed[queue][job.site] or 0) + 1
  return job
end

local function settle(good)
  for queue, ids in pairs(ended) do
    for i = 1, #ids, 1000 do
      redis.call('ZREM', queue_key(queue, 'leases'), unpack(ids, i, math.min(i + 999, #ids)))
    end
    for site, n in pairs(freed[queue]) do free_slot(queue, site, good[site] and 'good', n) end
  end
end

local function note_attempt(job, entry)
  if entry == '' then return end
  redis.call('RPUSH', hist_key(job.id), entry)
  job.noted = true
end

-- Whoever reads it next must know that an earlier delivery may have reached the API.
local function remember_unsure(job)
  if not job.unsure_since then
    redis.call('HSET', job_key(job.id), 'unsure_since', job.delivered_at or NOW)
  end
end

-- One new record, in its line or among the delayed. `e` is an entry as enqueue.lua describes it;
-- `stand(e)` puts it into its line, at once when not given.
local function admit(e, stand)
  local due = NOW + e.delay_ms
  local delayed = e.delay_ms > 0
  redis.call('SET', msg_key(e.id), e.message)
  local fields = { 'v', '1', 'mode', e.mode, 'actor', e.actor, 'queue', e.queue, 'site', e.site,
    'lane', e.lane, 'mark', e.mark, 'state', delayed and 'delayed' or 'queued', 'enqueued_at', AT }
  if e.parts ~= '' then fields[#fields + 1] = 'parts'; fields[#fields + 1] = e.parts end
  if e.key ~= '' then fields[#fields + 1] = 'key'; fields[#fields + 1] = e.key end
  if delayed then fields[#fields + 1] = 'due_at'; fields[#fields + 1] = due end
  if e.deadline_ms > 0 then
    fields[#fields + 1] = 'deadline_at'
    fields[#fields + 1] = NOW + e.deadline_ms
    redis.call('ZADD', queue_key(e.queue, 'deadlines'), NOW + e.deadline_ms, e.id)
  end
  redis.call('HSET', job_key(e.id), unpack(fields))
  if delayed then
    redis.call('ZADD', queue_key(e.queue, 'delayed'), due, e.id)
  elseif stand then
    stand(e)
  else
    into_line(e.queue, e.site, e.lane, e.id, false)
  end
end

local ENTRY_SIZE = 11

-- The entry at ARGV[i]: id, mode, mark, queue, actor, site, lane, key, delay_ms, deadline_ms, message.
-- After the mark and a blank may come its parts, from which a producer tells what differs in a conflict.
local function entry_at(i)
  local mark, parts = ARGV[i + 2], ''
  local blank = string.find(mark, ' ', 1, true)
  if blank then mark, parts = string.sub(mark, 1, blank - 1), string.sub(mark, blank + 1) end
  return { id = ARGV[i], mode = ARGV[i + 1], mark = mark, parts = parts, queue = ARGV[i + 3],
    actor = ARGV[i + 4], site = ARGV[i + 5], lane = ARGV[i + 6], key = ARGV[i + 7],
    delay_ms = tonumber(ARGV[i + 8]), deadline_ms = tonumber(ARGV[i + 9]), message = ARGV[i + 10] }
end

local ACCEPT_FIELDS = { 'state', 'mark', 'parts' }

-- Take in one entry; says new, known, conflict or again, the state of the record, and with conflict its mark
-- and parts.
--   mode "job": the mark is a digest; another digest under the same id is a conflict.
--   mode "message": the mark is the token of one send; the same token is the same send repeated by the
--   client, another token for a running message asks for one more run after this one.
local function accept(e, stand)
  local job = read_job(e.id, ACCEPT_FIELDS)
  if job then
    local state = job.state
    if e.mode == 'job' then
      if job.mark == e.mark then return 'known', state end
      return 'conflict', state, job.mark, job.parts or ''
    end
    if job.mark == e.mark or state == 'queued' or state == 'delayed' then return 'known', state end
    if state == 'running' then
      redis.call('HSET', job_key(e.id), 'mark', e.mark, 'again', e.delay_ms)
      redis.call('SET', msg_key(e.id), e.message)
      return 'again', state
    end
    redis.call('DEL', job_key(e.id), out_key(e.id), hist_key(e.id))
    redis.call('ZREM', P .. 'dead', e.id)
  end
  admit(e, stand)
  return 'new', e.delay_ms > 0 and 'delayed' or 'queued'
end

-- The same message once more, after delay_ms: it goes on living instead of ending.
local function live_on(job, delay_ms)
  redis.call('HSET', job_key(job.id), 'state', 'delayed', 'due_at', NOW + delay_ms, 'deliveries', 0)
  redis.call('HDEL', job_key(job.id), 'worker', 'again')
  redis.call('ZADD', queue_key(job.queue, 'delayed'), NOW + delay_ms, job.id)
end

-- Take in the n entries at ARGV[i] that follow from the ending of `job`; true when it follows itself.
local function follow(job, i, n, rung)
  local lives = false
  for _ = 1, n do
    local e = entry_at(i)
    if e.id == job.id and e.mode == 'message' then
      lives = true
      redis.call('HSET', job_key(e.id), 'mark', e.mark)
      redis.call('SET', msg_key(e.id), e.message)
      live_on(job, e.delay_ms)
      rung[job.queue] = true
    elseif accept(e) == 'new' then
      rung[e.queue] = true
      redis.call('SADD', P .. 'queues', e.queue)
    end
    i = i + ENTRY_SIZE
  end
  return lives
end
