-- site: when a site may be called. The second of the parts put before every script.
--
-- Four things hold a site back, all in site:<site>:
--   its budget   a clock (tat) that runs interval_ms ahead with every call, and max_in_flight;
--   its trust    how many of those it is given at once: few until calls have gone well;
--   its pace     the part of the rate that the API lets through: it falls with a 429 and climbs back;
--   its gate     parked by hand (until somebody resumes it), or parked with a time to probe (probe_at):
--                then one call at a time goes out, and the first good ending opens it.

-- Endings in a row that say "away" before the gate shuts: a bad minute of one request is no outage.
local FAILING_MAX = 10
-- Calls at once of a site that was not seen to work: what a refused key may cost. One more with each
-- good ending, so they double in the time of an answer; and from the start again once none came for so
-- long (ms), which no call takes.
local TRUST_FIRST, TRUST_MS = 5, 30000
-- Milliseconds between two notes that a trusted site still works: not every ending is worth a write.
local WELL_NOTE_MS = 1000
-- Milliseconds to the first probe of a site that fails, and the most; and for one whose key is refused.
local PROBE_FIRST_MS, PROBE_MAX_MS, PROBE_REFUSED_MS = 15000, 60000, 60000
-- Milliseconds that a pace stands after a 429, and the most when 429s go on; after that it doubles in
-- every DOUBLE_MS, so that a limit that was raised is in use again within a minute.
local HOLD_FIRST_MS, HOLD_MAX_MS, DOUBLE_MS = 10000, 35000, 3500
-- The slowest pace: a part of the configured rate.
local PACE_MIN = 1 / 64

-- The part of its rate that a site is called at now: `pace` until `climb_ms` after `pace_at`, then more.
local function pace_of(pace, pace_at, climb_ms)
  if not pace then return 1 end
  return math.min(1, pace * 2 ^ (math.max(0, NOW - pace_at - climb_ms) / DOUBLE_MS))
end

local function trust_of(trust, well_at)
  return well_at and NOW - well_at < TRUST_MS and tonumber(trust) or TRUST_FIRST
end

-- Most calls of the site at the same moment now; 0 = no limit. While endings say that it is away there
-- are no more under way than it takes to shut the gate.
local function cap_of(max_in_flight, probe_at, failing, trust, well_at)
  if probe_at then return 1 end
  local cap = tonumber(max_in_flight or 0)
  if cap == 0 then return 0 end
  cap = math.min(cap, trust_of(trust, well_at))
  return failing and math.max(1, math.min(cap, FAILING_MAX - failing)) or cap
end

-- When the site may be served next (ms), or nil while it may not: parked, or its calls are used up.
local function turn_at(site)
  local s = redis.call('HMGET', site_key(site), 'parked', 'max_in_flight', 'in_flight', 'tat', 'burst_ms',
    'paused_until', 'probe_at', 'failing', 'trust', 'well_at')
  local cap = cap_of(s[2], s[7], s[8], s[9], s[10])
  local at = math.max(NOW, tonumber(s[6] or 0))
  if s[1] then
    if not s[7] then return nil end
    at = math.max(at, tonumber(s[7]))
  end
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

-- Hand out no more jobs of the site; they stay in their lines. With `probe_ms` one of them is tried
-- then; without, somebody has to resume the site.
local function park(site, reason, probe_ms)
  local key = site_key(site)
  redis.call('HSET', key, 'parked', reason)
  redis.call('HSETNX', key, 'parked_at', NOW)
  if probe_ms then
    redis.call('HSET', key, 'probe_at', NOW + probe_ms, 'probe_ms', probe_ms)
    redis.call('HDEL', key, 'trust', 'well_at')
  else
    redis.call('HDEL', key, 'probe_at', 'probe_ms')
  end
  redis.call('SADD', P .. 'sites', site)
  line_up_anew(site)
end

-- The API refused the site's key, or does not know the site.
local function park_refused(site, reason)
  local s = redis.call('HMGET', site_key(site), 'parked', 'probe_at')
  if s[1] and not s[2] then return end -- parked by hand
  park(site, reason, PROBE_REFUSED_MS)
end

-- The API said that the site is away for a while: a run of failures that is known at the first. It may
-- have said (told_ms > 0) when to ask again.
local function park_away(site, reason, told_ms)
  local key = site_key(site)
  local s = redis.call('HMGET', key, 'parked', 'probe_at')
  if not s[1] then
    park(site, reason, told_ms > 0 and told_ms or PROBE_FIRST_MS)
  elseif s[2] and tonumber(s[2]) < NOW + told_ms then
    redis.call('HSET', key, 'probe_at', NOW + told_ms)
    line_up_anew(site)
  end
end

-- One more ending in a row said that the site is away.
local function note_failing(site, parked, probe_at, probe_ms)
  local failing = redis.call('HINCRBY', site_key(site), 'failing', 1)
  if parked and not probe_at then return failing end
  if parked and NOW >= tonumber(probe_at) then
    park(site, parked, math.min(PROBE_MAX_MS, tonumber(probe_ms) * 2))
  elseif not parked and failing >= FAILING_MAX then
    park(site, 'failing', PROBE_FIRST_MS)
  end
  return failing
end

-- n calls got a good ending: the site is given more at once.
local function note_trust(site, most, trust, well_at, n)
  local before = trust_of(trust, well_at)
  local after = math.min(math.max(most, TRUST_FIRST), before + n)
  if after ~= before or not well_at or NOW - well_at >= WELL_NOTE_MS then
    redis.call('HSET', site_key(site), 'trust', after, 'well_at', NOW)
  end
  return after
end

-- A call got a good ending: whatever was waited for is over.
local function note_well(site, parked, probe_at)
  redis.call('HDEL', site_key(site), 'failing')
  if parked and probe_at then
    redis.call('HDEL', site_key(site), 'parked', 'parked_at', 'probe_at', 'probe_ms')
    line_up_anew(site)
  end
end

-- A call of the site has ended (or n of them): its slot is free, and a line that waited for it may go
-- on. `word` is "well" or "failing" when the ending says something about the site.
local function free_slot(queue, site, word, n)
  local key = site_key(site)
  local left = redis.call('HINCRBY', key, 'in_flight', -(n or 1))
  if left < 0 then redis.call('HSET', key, 'in_flight', 0) end
  local s = redis.call('HMGET', key, 'max_in_flight', 'failing', 'parked', 'probe_at', 'probe_ms', 'trust',
    'well_at')
  local most, failing, trust, well_at = tonumber(s[1] or 0), s[2], s[6], s[7]
  if word == 'well' then
    if most > 0 then trust, well_at = note_trust(site, most, trust, well_at, n or 1), NOW end
    if failing or s[3] then note_well(site, s[3], s[4]) end
    failing = false
  elseif word == 'failing' then
    failing = note_failing(site, s[3], s[4], s[5])
  end
  local cap = cap_of(most, s[3] and s[4], failing, trust, well_at)
  if cap > 0 and left < cap and has_line(queue, site) and line_up(queue, site) then ring(queue) end
end

-- The pace that a 429 leaves of `pace`, and what the last minute took in calls; `s` as throttle reads it.
local function pace_after(s, pace)
  local per_minute = 60000 / tonumber(s[2])
  local from = tonumber(s[6] or 0)
  if from == 0 or NOW - from > 60000 then return pace / 2, pace * per_minute end
  -- This minute's calls: those since the last pause, and those before it that are still of this minute.
  local before_ms = math.max(0, 60000 - (NOW - tonumber(s[8] or from)))
  local took = tonumber(s[7] or 0) + tonumber(s[9] or 0) * before_ms / 60000
  local fell = math.min(pace, took / per_minute * 0.95)
  if NOW - from < tonumber(s[5] or 0) then fell = math.min(fell, pace / 2) end -- held, and still too fast
  return fell, took
end

-- The API said 429: nobody calls the site for a while, and its pace falls to what got through.
local function throttle(site, pause_ms)
  local key = site_key(site)
  local s = redis.call('HMGET', key, 'paused_until', 'interval_ms', 'pace', 'pace_at', 'climb_ms',
    'counted_from', 'counted', 'throttled_at', 'took')
  local paused, until_ms = tonumber(s[1] or 0), NOW + pause_ms
  if NOW >= paused then -- the first 429 since the last pause: the others were under way already
    local pace = pace_of(s[3] and tonumber(s[3]), tonumber(s[4] or 0), tonumber(s[5] or HOLD_FIRST_MS))
    local fell, took = pace / 2, 0
    if tonumber(s[2] or 0) > 0 then fell, took = pace_after(s, pace) end
    local hold = HOLD_FIRST_MS
    if s[4] and NOW - tonumber(s[4]) < 300000 then
      hold = math.min(HOLD_MAX_MS, tonumber(s[5] or HOLD_FIRST_MS) * 2)
    end
    redis.call('HSET', key, 'pace', string.format('%.6f', math.max(PACE_MIN, fell)),
      'pace_at', until_ms, 'climb_ms', hold, 'counted_from', until_ms, 'counted', 0,
      'throttled_at', NOW, 'took', string.format('%.1f', took))
  end
  if until_ms > paused then redis.call('HSET', key, 'paused_until', until_ms) end
  line_up_anew(site)
end
