-- configure: write down what a worker's settings allow of n sites, and which key it holds for each.
--
-- Writes site:<site>, config:<site>, sites, q:*:{turn, bell}. Reads queues, q:*:line:*. While living workers
-- say different limits, the lowest hold, each by itself. A rate that a person set (see rate.lua) stands: the
-- one of the settings is kept beside it. A site whose key was not seen before is called as if it was new;
-- one that tripped since every key was refused is tried at once with such a key.
-- ARGV  worker, then n sites of 7: name, interval_ms (0 = no limit), burst_ms, max_in_flight (0 = no limit),
--       bulk_every: of so many calls one is for the bulk lane while both lanes wait (0 = none);
--       key_mark: tells one key of the site from another, 'none' = it has no key, '' = it does not say;
--       accepted = 1 when the API took this key since it was refused.
-- Gives n times {refused, limits, worker, ...}: refused = 1 when the API refused this key, 2 when it refused
-- every key at work; then every limit that a living worker says ("interval_ms burst_ms max_in_flight"), with the last worker that said so.
local me, reply = ARGV[1], {}

-- What living workers say of a site: {limits, worker...}, with what this one said before left out.
local function limits_said(said, mine)
  local found = {}
  local rows = redis.call('HGETALL', said)
  for i = 1, #rows, 2 do
    local word, value = string.match(rows[i], '^(%S+) (.*)$')
    local at, worker = string.match(rows[i + 1], '^(%d+) (.*)$')
    local age = math.abs(NOW - at)
    if age > (word == 'limits' and LIVING_MS or KEPT_MS) then
      redis.call('HDEL', said, rows[i])
    elseif word == 'limits' and worker == me and value ~= mine then
      redis.call('HDEL', said, rows[i])
    elseif word == 'limits' then
      found[#found + 1] = value
      found[#found + 1] = worker
    end
  end
  return found
end

-- The lowest of the limits that are said: interval_ms and burst_ms of the slowest rate, max_in_flight.
local function lowest(found)
  local interval, burst, cap
  for i = 1, #found, 2 do
    local a, b, c = string.match(found[i], '^(%S+) (%S+) (%S+)$')
    local slower = not interval or tonumber(a) > tonumber(interval)
    if slower or (tonumber(a) == tonumber(interval) and tonumber(b) < tonumber(burst)) then interval, burst = a, b end
    if not cap or cap == '0' or (c ~= '0' and tonumber(c) < tonumber(cap)) then cap = c end
  end
  return interval, burst, cap
end

-- A key that was never seen: the ramp begins anew, and a site whose keys were all refused is tried with it.
local function meet_key(site, key)
  local tripped_by_key = redis.call('HEXISTS', key, 'key_tripped') == 1
  redis.call('HDEL', key, 'ramp', 'success_at')
  if tripped_by_key then
    redis.call('HSET', key, 'probe_at', NOW)
    line_up_anew(site)
  end
end

for i = 2, #ARGV, 7 do
  local site, mark = ARGV[i], ARGV[i + 5]
  local key, said = site_key(site), config_key(site)
  local mine = table.concat({ ARGV[i + 1], ARGV[i + 2], ARGV[i + 3] }, ' ')
  if redis.call('HSET', said, 'limits ' .. mine, AT .. ' ' .. me) == 1 then redis.call('SADD', P .. 'sites', site) end
  local found = limits_said(said, mine)
  local interval, burst, cap = lowest(found)
  redis.call('HSET', key, 'set_interval_ms', interval, 'set_burst_ms', burst, 'max_in_flight', cap,
    'bulk_every', ARGV[i + 4])
  if redis.call('HEXISTS', key, 'hand_rate') == 0 then
    redis.call('HSET', key, 'interval_ms', interval, 'burst_ms', burst)
  end
  local refused = 0
  if mark ~= '' then
    if ARGV[i + 6] == '1' then redis.call('HDEL', said, 'refused ' .. mark) end
    refused = redis.call('HEXISTS', said, 'refused ' .. mark)
    -- Nobody has another key: the probes of the circuit breaker tell when one works.
    if refused == 1 and redis.call('HEXISTS', key, 'key_tripped') == 1 then refused = 2 end
    local is_new = redis.call('HSET', said, 'key ' .. mark, AT .. ' ' .. me) == 1
    if is_new and mark ~= 'none' and refused == 0 then meet_key(site, key) end
  end
  reply[#reply + 1] = { refused, unpack(#found > 2 and found or {}) }
end
return reply
