-- keys: the first of the parts put before every script (keys, site, job). KEYS[1] is the prefix
-- "{namespace:shard}:" of all keys. All time is that of the queue's clock; one script is one state change.
local P = KEYS[1]

local function clock_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local T = clock_ms()
-- The queue's clock is Redis time that never goes back. After a step back of Redis time it is ahead of it, by half
-- an hour at most, and gains a twentieth less than real time until it is not. So no lease, delay or rate lasts
-- longer for a step; an idempotency window lasts 5 % longer at most.
local AHEAD_MAX_MS, SLEW, TICK_MS = 1800000, 20, 1000
local clock = redis.call('HMGET', P .. 'time', 'at', 'ahead', 'stepped_at')
local CLOCK_AT = tonumber(clock[1] or 0)
local AHEAD = clock[2] and math.max(0, clock[2] - math.floor(math.max(0, T - clock[3]) / SLEW)) or 0
local NOW = T + AHEAD
if CLOCK_AT > NOW then NOW = math.min(CLOCK_AT, T + AHEAD_MAX_MS) end
-- The same as text: to write a number as text costs more than all else of a field.
local AT = string.format('%d', NOW)

local function job_key(id) return P .. 'job:' .. id end
local function msg_key(id) return P .. 'msg:' .. id end
local function out_key(id) return P .. 'out:' .. id end
local function hist_key(id) return P .. 'hist:' .. id end
local function site_key(site) return P .. 'site:' .. site end
local function config_key(site) return P .. 'config:' .. site end
local function queue_key(queue, part) return P .. 'q:' .. queue .. ':' .. part end
local function line_key(queue, site, lane) return P .. 'q:' .. queue .. ':line:' .. site .. ':' .. lane end

-- Write down how late it is, once a second, and by how much the queue's clock is ahead after a step back.
local function keep_time()
  if CLOCK_AT - T - AHEAD >= TICK_MS then
    local ahead = math.min(CLOCK_AT - T, AHEAD_MAX_MS)
    redis.call('HSET', P .. 'time', 'at', string.format('%d', T + ahead), 'ahead', ahead, 'stepped_at', string.format('%d', T))
  elseif NOW - CLOCK_AT >= TICK_MS then
    redis.call('HSET', P .. 'time', 'at', AT)
  end
end

local function ring_bell(queue, part)
  local bell = queue_key(queue, part)
  if redis.call('LLEN', bell) < 8 then redis.call('RPUSH', bell, '1') end
end

-- Wake one idle worker of the queue; it wakes the next one if work is left. A worker that leaves out a site
-- waits at a bell of its own: a job of that site, which stays in its line, must not wake it again and again.
local function ring(queue)
  ring_bell(queue, 'bell')
  if redis.call('EXISTS', queue_key(queue, 'choosy')) == 1 then ring_bell(queue, 'choosy_bell') end
end

-- Refuse a caller whose layout is another one than that which was written down: nil while it is the same. Its
-- records may be one version ahead, while workers are upgraded; see fetch.
local function refuse_layout(shards, version)
  local known = redis.call('HMGET', P .. 'layout', 'shards', 'version')
  if not known[1] then return redis.error_reply('NOLAYOUT is written down') end
  if known[1] ~= shards or tonumber(version) > known[2] + 1 then
    return redis.error_reply('LAYOUT ' .. table.concat({ shards, version, known[1], known[2] }, ' '))
  end
end
