-- site: when a site may be called. The second of the parts put before every script.
--
-- What holds a site back, all in site:<site>:
--   rate limit       a clock (tat) that runs interval_ms ahead with every call, and max_in_flight;
--   concurrency ramp how many calls it is given at once (ramp): few until calls have gone well;
--   adaptive rate    the part of the rate that the API lets through (adaptive): a 429 lowers it, it climbs back;
--   throttled        the API said how long nobody is to call (throttled_until);
--   circuit breaker  tripped by failures or a refused key: one call at a time is tried (probe_at), and the
--                    first good ending closes it;
--   paused           by a person, until a person resumes it.

-- Failing endings in a row that trip the breaker: a bad minute of one request is no outage.
local FAILURES_MAX = 10
-- Calls at once of a site that has not answered: what a refused key may cost. One more with each good
-- ending, so they double in the time of an answer. The ramp starts anew once no good ending came for so
-- long (ms), which no call takes.
local RAMP_FIRST, RAMP_MS = 5, 30000
-- Milliseconds between two notes that a site still works: not every ending is worth a write.
local SUCCESS_NOTE_MS = 1000
-- Milliseconds to the first probe of a site that fails, and the most; and for one whose key is refused.
local PROBE_FIRST_MS, PROBE_MAX_MS, PROBE_REFUSED_MS = 15000, 60000, 60000
-- Milliseconds that an adaptive rate stands after a 429, and the most when 429s go on; after that it doubles in
-- every DOUBLE_MS, so that a limit that was raised is in use again within a minute.
local HOLD_FIRST_MS, HOLD_MAX_MS, DOUBLE_MS = 10000, 35000, 3500
-- Milliseconds for which what a worker said of a site holds: it says so every 5 s; and for which keys are known.
local LIVING_MS, KEPT_MS = 20000, 86400000
-- The slowest adaptive rate: a part of the configured one.
local ADAPTIVE_MIN = 1 / 64

-- The part of its rate that a site is called at now: `adaptive` until `climb_ms` after `adaptive_at`, then more.
local function adaptive_of(adaptive, adaptive_at, climb_ms)
  if not adaptive then return 1 end
  return math.min(1, adaptive * 2 ^ (math.max(0, NOW - adaptive_at - climb_ms) / DOUBLE_MS))
end

local function ramp_of(ramp, success_at)
  return success_at and NOW - success_at < RAMP_MS and tonumber(ramp) or RAMP_FIRST
end

-- Most calls of the site at the same moment now; 0 = no limit. While endings fail, no more are under way
-- than it takes to trip the breaker.
local function cap_of(max_in_flight, probe_at, failures, ramp, success_at)
  if probe_at then return 1 end
  local cap = tonumber(max_in_flight or 0)
  if cap == 0 then return 0 end
  cap = math.min(cap, ramp_of(ramp, success_at))
  return failures and math.max(1, math.min(cap, FAILURES_MAX - failures)) or cap
end

-- When the site may be served next (ms), or nil while it may not: paused, or its calls are used up.
local function turn_at(site)
  local s = redis.call('HMGET', site_key(site), 'paused', 'max_in_flight', 'in_flight', 'tat', 'burst_ms',
    'throttled_until', 'probe_at', 'failures', 'ramp', 'success_at')
  local cap = cap_of(s[2], s[7], s[8], s[9], s[10])
  if s[1] then return nil end
  local at = math.max(NOW, tonumber(s[6] or 0), tonumber(s[7] or 0))
  if cap > 0 and tonumber(s[3] or 0) >= cap then return nil end
  if s[4] then at = math.max(at, s[4] - (s[5] or 0)) end
  return at
end

-- Give the site's line a place in the fair order, if it has none and may be served.
local function line_up(queue, site)
  local turn = queue_key(queue, 'turn')
  if redis.call('ZSCORE', turn, site) then return false end
  local at = turn_at(site)
  if not at then return false end
  redis.call('ZADD', turn, at, site)
  return true
end

local function has_line(queue, site)
  return redis.call('EXISTS', line_key(queue, site, 'interactive'), line_key(queue, site, 'bulk')) > 0
end

-- The site's place in the order of every queue, worked out anew.
local function line_up_anew(site)
  for _, queue in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
    redis.call('ZREM', queue_key(queue, 'turn'), site)
    if has_line(queue, site) and line_up(queue, site) then ring(queue) end
  end
end

-- Put a job into its line: at the tail, or at the head when it comes back through no fault of its own.
local function into_line(queue, site, lane, id, head)
  local length = redis.call(head and 'LPUSH' or 'RPUSH', line_key(queue, site, lane), id)
  if length == 1 then redis.call('SADD', queue_key(queue, 'lines'), site) end
  line_up(queue, site)
end

-- Put new jobs into their line together.
local function all_into_line(queue, site, lane, ids)
  for i = 1, #ids, 1000 do
    redis.call('RPUSH', line_key(queue, site, lane), unpack(ids, i, math.min(i + 999, #ids)))
  end
  redis.call('SADD', queue_key(queue, 'lines'), site)
  line_up(queue, site)
end

-- Hand out no more jobs of the site until a person resumes it; they stay in their lines.
local function pause(site, reason)
  local key = site_key(site)
  redis.call('HSET', key, 'paused', reason)
  redis.call('HSETNX', key, 'paused_at', NOW)
  redis.call('SADD', P .. 'sites', site)
  line_up_anew(site)
end

-- Open the circuit breaker: one job of the site is tried after `probe_ms`, the others stay in their lines.
local function trip(site, reason, probe_ms)
  local key = site_key(site)
  redis.call('HSET', key, 'tripped', reason, 'probe_at', NOW + probe_ms, 'probe_ms', probe_ms)
  redis.call('HSETNX', key, 'tripped_at', NOW)
  redis.call('HDEL', key, 'ramp', 'success_at')
  redis.call('SADD', P .. 'sites', site)
  line_up_anew(site)
end

-- The API does not know the site, or lets nobody in.
local function trip_refused(site, reason) trip(site, reason, PROBE_REFUSED_MS) end

-- The API refused one key of the site. Workers with another key go on; the site trips once no living worker
-- has a key that was not refused.
local function refuse_key(site, reason, mark)
  local said = config_key(site)
  redis.call('HSET', said, 'refused ' .. mark, AT .. ' ' .. reason)
  local rows, refused, good = redis.call('HGETALL', said), {}, {}
  for i = 1, #rows, 2 do
    local word, value = string.match(rows[i], '^(%S+) (.*)$')
    if word == 'refused' then
      refused[value] = true
    elseif word == 'key' and value ~= 'none' and math.abs(NOW - string.match(rows[i + 1], '^%d+')) <= LIVING_MS then
      good[value] = true
    end
  end
  for value in pairs(good) do
    if not refused[value] then return end
  end
  redis.call('HSET', site_key(site), 'key_tripped', 1)
  trip_refused(site, reason)
end

-- The API said that the site is unavailable for a while: a run of failures that is known at the first. It
-- may have said (told_ms > 0) when to ask again.
local function trip_unavailable(site, reason, told_ms)
  local key = site_key(site)
  local probe_at = redis.call('HGET', key, 'probe_at')
  if not probe_at then
    trip(site, reason, told_ms > 0 and told_ms or PROBE_FIRST_MS)
  elseif tonumber(probe_at) < NOW + told_ms then
    redis.call('HSET', key, 'probe_at', NOW + told_ms)
    line_up_anew(site)
  end
end

-- One more ending in a row failed.
local function note_failure(site, tripped, probe_at, probe_ms)
  local failures = redis.call('HINCRBY', site_key(site), 'failures', 1)
  if tripped and NOW >= tonumber(probe_at) then
    trip(site, tripped, math.min(PROBE_MAX_MS, tonumber(probe_ms) * 2))
  elseif not tripped and failures >= FAILURES_MAX then
    trip(site, 'failing', PROBE_FIRST_MS)
  end
  return failures
end

-- n calls got a good ending: the site is given more at once.
local function climb_ramp(site, most, ramp, success_at, n)
  local before = ramp_of(ramp, success_at)
  local after = math.min(math.max(most, RAMP_FIRST), before + n)
  if after ~= before or not success_at or NOW - success_at >= SUCCESS_NOTE_MS then
    redis.call('HSET', site_key(site), 'ramp', after, 'success_at', NOW)
  end
  return after
end

-- A call got a good ending: the breaker closes.
local function note_success(site, tripped)
  redis.call('HDEL', site_key(site), 'failures')
  if tripped then
    redis.call('HDEL', site_key(site), 'tripped', 'tripped_at', 'probe_at', 'probe_ms', 'key_tripped')
    line_up_anew(site)
  end
end

-- A call of the site has ended (or n of them): its slot is free, and a line that waited for it may go
-- on. `word` is "good" or "failing" when the ending says something about the site.
local function free_slot(queue, site, word, n)
  local key = site_key(site)
  local left = redis.call('HINCRBY', key, 'in_flight', -(n or 1))
  if left < 0 then redis.call('HSET', key, 'in_flight', 0) end
  local s = redis.call('HMGET', key, 'max_in_flight', 'failures', 'tripped', 'probe_at', 'probe_ms', 'ramp',
    'success_at')
  local most, failures, ramp, success_at = tonumber(s[1] or 0), s[2], s[6], s[7]
  local probe_at = s[4]
  if word == 'good' then
    if most > 0 then ramp, success_at = climb_ramp(site, most, ramp, success_at, n or 1), NOW end
    if failures or s[3] then note_success(site, s[3]) end
    failures, probe_at = false, false
  elseif word == 'failing' then
    failures = note_failure(site, s[3], s[4], s[5])
  end
  local cap = cap_of(most, probe_at, failures, ramp, success_at)
  if cap > 0 and left < cap and has_line(queue, site) and line_up(queue, site) then ring(queue) end
end

-- The adaptive rate that a 429 leaves of `adaptive`, and what the last minute took in calls; `s` as throttle reads it.
local function adaptive_after(s, adaptive)
  local per_minute = 60000 / tonumber(s[2])
  local from = tonumber(s[6] or 0)
  if from == 0 or NOW - from > 60000 then return adaptive / 2, adaptive * per_minute end
  -- This minute's calls: those since the last 429, and those before it that are still of this minute.
  local before_ms = math.max(0, 60000 - (NOW - tonumber(s[8] or from)))
  local took = tonumber(s[7] or 0) + tonumber(s[9] or 0) * before_ms / 60000
  local fell = math.min(adaptive, took / per_minute * 0.95)
  if NOW - from < tonumber(s[5] or 0) then fell = math.min(fell, adaptive / 2) end -- held, and still too fast
  return fell, took
end

-- The API said 429: nobody calls the site for a while, and its adaptive rate falls to what got through.
local function throttle(site, wait_ms)
  local key = site_key(site)
  local s = redis.call('HMGET', key, 'throttled_until', 'interval_ms', 'adaptive', 'adaptive_at', 'climb_ms',
    'counted_from', 'counted', 'throttled_at', 'took')
  local throttled_until, until_ms = tonumber(s[1] or 0), NOW + wait_ms
  if NOW >= throttled_until then -- the first 429 since the last wait: the others were under way already
    local adaptive = adaptive_of(s[3] and tonumber(s[3]), tonumber(s[4] or 0), tonumber(s[5] or HOLD_FIRST_MS))
    local fell, took = adaptive / 2, 0
    if tonumber(s[2] or 0) > 0 then fell, took = adaptive_after(s, adaptive) end
    local hold = HOLD_FIRST_MS
    if s[4] and NOW - tonumber(s[4]) < 300000 then
      hold = math.min(HOLD_MAX_MS, tonumber(s[5] or HOLD_FIRST_MS) * 2)
    end
    redis.call('HSET', key, 'adaptive', string.format('%.6f', math.max(ADAPTIVE_MIN, fell)),
      'adaptive_at', until_ms, 'climb_ms', hold, 'counted_from', until_ms, 'counted', 0,
      'throttled_at', NOW, 'took', string.format('%.1f', took))
  end
  if until_ms > throttled_until then redis.call('HSET', key, 'throttled_until', until_ms) end
  line_up_anew(site)
end
