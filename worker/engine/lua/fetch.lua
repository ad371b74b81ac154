-- fetch: lease up to n jobs of the sites that have budget, in fair order, once sweep.lua has moved what is due.
--
-- Reads and writes q:<queue>:{leases, newer, suspects, turn, line:*, bell, choosy, choosy_bell}, job:<id>,
-- msg:<id>, site:<site>,
-- and what an ending touches when a job is buried or expires here.
-- ARGV  queue, worker, n, lease_ms, max_deliveries, ttl_ms, stream_max, max_version, expected, then any number of
--       pairs: a site that may not have all of n, and the jobs it may get. `expected` is what the time must be by
--       the worker's own clock and the last reply that it got; '' = it got none.
-- Gives {now, look_at, job...}: `look_at` (ms, 0 = nothing is coming) is when to call again at the latest;
-- a job is {id, message, fence, rest}, and rest one text, quicker to read: "deliveries attempts enqueued_at
-- first_delivery_at unsure_since deadline_at epoch lane site", '' where not set.
local SUSPECT_MS = 250 -- until a line is looked at again in which only suspects are left
local BULK_EVERY = 10 -- of so many calls of a site one is for the bulk lane while both lanes wait
local CHOOSY_MS = 10000 -- for which a worker that leaves out a site may wait at the choosy bell

local reply = { NOW, 0 }
local running = {} -- what is to be added to the leases
local lapses_at = string.format('%d', NOW + lease_ms)
local sites = {}

local function site_of(name)
  local site = sites[name]
  if not site then
    local s = redis.call('HMGET', site_key(name), 'interval_ms', 'burst_ms', 'tat', 'max_in_flight',
      'in_flight', 'throttled_until', 'adaptive', 'adaptive_at', 'climb_ms', 'probe_at', 'failures', 'ramp',
      'success_at', 'bulk_every', 'since_bulk')
    site = { interval = tonumber(s[1] or 0), burst = tonumber(s[2] or 0), tat = tonumber(s[3] or 0),
      cap = cap_of(s[4], s[10], s[11], s[12], s[13]), in_flight = tonumber(s[5] or 0),
      throttled_until = tonumber(s[6] or 0), served = 0, name = name, ids = {}, messages = {}, at = 1,
      bulk_every = tonumber(s[14] or BULK_EVERY), since_bulk = tonumber(s[15] or 0) }
    if s[7] then
      site.adaptive = true
      site.interval = site.interval / adaptive_of(tonumber(s[7]), tonumber(s[8]), tonumber(s[9]))
    end
    sites[name] = site
  end
  return site
end

local function is_full(site) return site.cap > 0 and site.in_flight >= site.cap end

-- When the site may be served again, or nil while its calls are used up.
local function next_turn(site)
  if is_full(site) then return nil end
  local at = math.max(NOW, site.throttled_until)
  if site.interval > 0 then at = math.max(at, site.tat - site.burst) end
  return at
end

-- Sites of which this worker wants no more than so many; they keep their place in the order.
local limits, limited = {}, 0
for i = 10, #ARGV, 2 do
  limits[ARGV[i]] = tonumber(ARGV[i + 1])
  limited = limited + 1
end

-- How many jobs of the site this call may still need: a guess, so that few go back to their line.
local function share_of(site, neighbours)
  local n = math.ceil((wanted - #reply + 2) / neighbours)
  if limits[site.name] then n = math.min(n, limits[site.name]) end
  if site.cap > 0 then n = math.min(n, site.cap - site.in_flight) end
  if site.interval > 0 then
    n = math.min(n, math.floor((NOW + 1 + site.burst - math.max(site.tat, NOW)) / site.interval) + 1)
  end
  return math.max(1, n)
end

-- The next job of the site's lines, or nil when they are empty. They are taken some at a time.
local function next_of(site, neighbours)
  if site.at > #site.ids then
    local n, lanes = share_of(site, neighbours), { 'interactive', 'bulk' }
    if site.bulk_every > 0 and redis.call('EXISTS', line_key(queue, site.name, 'bulk')) == 1 then
      site.both_wait = true
      local left = site.bulk_every - 1 - site.since_bulk
      if left <= 0 then n, lanes = 1, { 'bulk', 'interactive' } else n = math.min(n, left) end
    end
    for _, lane in ipairs(lanes) do
      local key = line_key(queue, site.name, lane)
      local ids = redis.call('LPOP', key, n)
      if ids and #ids > 0 then
        local keys = {}
        for i, id in ipairs(ids) do keys[i] = msg_key(id) end
        site.ids, site.messages, site.at, site.line = ids, redis.call('MGET', unpack(keys)), 1, key
        site.lane = lane
        break
      end
    end
  end
  local at = site.at
  if not site.ids[at] then return nil end
  site.at = at + 1
  return site.ids[at], site.messages[at]
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

-- Whether the worker may have a job that was handed out so often; if not, it goes back to its line.
local function may_have(id, deliveries, site, lane)
  if deliveries == 0 or deliveries + 1 < max_deliveries then return true end
  if held_suspect then
    local line = line_key(queue, site, lane)
    kept[line] = kept[line] or { site = site }
    table.insert(kept[line], id)
    kept_count = kept_count + 1
    return false
  end
  held_suspect = id
  redis.call('HSET', suspects, worker, id)
  redis.call('PEXPIRE', suspects, 86400000)
  return true
end

-- End a job that is not to be handed out.
local function dismiss(id, why)
  local job = read_job(id)
  if why == 'expired' then
    expire(job)
  elseif why == 'cancelled' then
    conclude(job, 'cancelled', job.mode == 'job'
      and outcome_of(job, 'cancelled', 'cancelled', 'cancelled') or '', ttl_ms, stream_max)
  else
    bury(job, 'invalid', why, ttl_ms, stream_max)
  end
  return false
end

-- Lease the job if it may run; false when it is not to be handed out (the line goes on).
local function lease(id, message)
  local key = job_key(id)
  local r = redis.call('HMGET', key, 'state', 'v', 'cancel', 'deadline_at', 'fence', 'deliveries',
    'first_delivery_at', 'attempts', 'enqueued_at', 'unsure_since', 'epoch', 'site', 'lane')
  if r[1] ~= 'queued' then return false end
  -- It ran when it was cancelled, and was given back without an attempt's ending.
  if r[3] then return dismiss(id, 'cancelled') end
  if r[4] and tonumber(r[4]) <= NOW then return dismiss(id, 'expired') end
  local version = tonumber(r[2])
  if version == max_version + 1 then
    redis.call('ZADD', newer, 'NX', NOW, id)
    return false
  end
  if not version or version > max_version then
    return dismiss(id, 'record version ' .. string.sub(tostring(r[2]), 1, 8) .. ' is not known')
  end
  if not message then return dismiss(id, 'the record has no message') end
  if not may_have(id, tonumber(r[6] or 0), r[12], r[13]) then return false end
  local fence, deliveries, first = (r[5] or 0) + 1, (r[6] or 0) + 1, r[7] or AT
  redis.call('HSET', key, 'state', 'running', 'worker', worker, 'fence', fence,
    'deliveries', deliveries, 'delivered_at', AT, 'first_delivery_at', first)
  running[#running + 1] = lapses_at
  running[#running + 1] = id
  reply[#reply + 1] = { id, message, fence, table.concat({ deliveries, r[8] or '0', r[9] or '0', first,
    r[10] or '', r[4] or '', r[11] or '0', r[13] or '', r[12] or '' }, ' ') }
  return true
end

-- Sites whose turn it is, in their order, are read from Redis once and kept in `heads`: each serves
-- one job and goes back to its new place. `moved` has the new places (false = none) to be written.
local heads, first_head, moved = {}, 1, {}

local later -- the first turn (ms) that has not come
local left_out = false -- whether a site's turn has come that this worker does not want

local function comes_later(at)
  if not later or at < later then later = at end
end

-- Gives how many were found, and whether these are all; else there may be more, that come before those
-- that are served meanwhile.
local function read_heads()
  local rows = redis.call('ZRANGE', turn, 0, wanted + limited, 'WITHSCORES')
  heads, first_head = {}, 1
  for i = 1, #rows, 2 do
    local at = tonumber(rows[i + 1])
    if math.floor(at) > NOW then
      if limits[rows[i]] ~= 0 then
        comes_later(math.floor(at))
        return #heads, true
      end
    elseif limits[rows[i]] == 0 then
      left_out = true
    else
      heads[#heads + 1] = { name = rows[i], at = at }
    end
  end
  return #heads, #rows <= 2 * (wanted + limited)
end

local function before(a, b) return a.at < b.at or (a.at == b.at and a.name < b.name) end

local function put_back(head)
  local i = #heads
  while i >= first_head and before(head, heads[i]) do
    heads[i + 1] = heads[i]
    i = i - 1
  end
  heads[i + 1] = head
end

local function write_heads()
  local placed, gone = {}, {}
  for name, at in pairs(moved) do
    if at then
      placed[#placed + 1] = string.format('%.17g', at)
      placed[#placed + 1] = name
    else
      gone[#gone + 1] = name
    end
  end
  if #placed > 0 then redis.call('ZADD', turn, unpack(placed)) end
  if #gone > 0 then redis.call('ZREM', turn, unpack(gone)) end
  moved = {}
end

local tries, limit = 0, wanted * 2 + 64
local served, found, all = 0, 0, true
while served < wanted and tries < limit do
  found, all = read_heads()
  while served < wanted and tries < limit + math.min(kept_count, SWEEP) and heads[first_head] do
    local head = heads[first_head]
    if head.again and not all then break end
    tries = tries + 1
    local site = site_of(head.name)
    local id, message
    -- Its calls may have become fewer since it got its place; then the next ending gives it another.
    if not is_full(site) then id, message = next_of(site, found) end
    if not id then
      moved[head.name] = false
      first_head = first_head + 1
    elseif lease(id, message) then
      served = served + 1
      site.served = site.served + 1
      site.in_flight = site.in_flight + 1
      if site.both_wait then site.since_bulk = site.lane == 'bulk' and 0 or site.since_bulk + 1 end
      if site.interval > 0 then site.tat = math.max(site.tat, NOW) + site.interval end
      first_head = first_head + 1
      local at = next_turn(site)
      -- The fraction keeps those served in the same millisecond in the order of service, and behind
      -- those that were not served yet; a site without neighbours needs none.
      moved[head.name] = at and math.floor(at) + ((found > 1 or not all) and served / 4096 or 0) or false
      local limit = limits[head.name]
      if limit then limits[head.name] = limit - 1 end
      if at and limit == 1 then
        left_out = left_out or math.floor(at) <= NOW
      elseif at and math.floor(at) <= NOW then
        put_back({ name = head.name, at = moved[head.name], again = true })
      elseif at then
        comes_later(math.floor(at))
      end
    end
  end
  write_heads()
  if all then break end
end

if #running > 0 then redis.call('ZADD', leases, unpack(running)) end
for name, site in pairs(sites) do
  local back = {}
  for i = #site.ids, site.at, -1 do back[#back + 1] = site.ids[i] end
  if #back > 0 then redis.call('LPUSH', site.line, unpack(back)) end
  if site.served > 0 then
    redis.call('HINCRBY', site_key(name), 'in_flight', site.served)
    if site.both_wait then redis.call('HSET', site_key(name), 'since_bulk', site.since_bulk) end
    if site.adaptive then redis.call('HINCRBY', site_key(name), 'counted', site.served) end
    if site.interval > 0 then redis.call('HSET', site_key(name), 'tat', string.format('%.3f', site.tat)) end
  end
end

for line, ids in pairs(kept) do
  for i = #ids, 1, -1 do redis.call('LPUSH', line, ids[i]) end
  if line_up(queue, ids.site) or served < wanted then
    -- Nothing else is left in this line for now; a neighbour that holds no suspect may come sooner.
    redis.call('ZADD', turn, 'XX', 'GT', NOW + SUSPECT_MS, ids.site)
  end
end

-- The first turn (ms) of a site that this worker wants, or nil.
local function first_wanted()
  local rows = redis.call('ZRANGE', turn, 0, limited, 'WITHSCORES')
  for i = 1, #rows, 2 do
    if limits[rows[i]] ~= 0 then return math.floor(tonumber(rows[i + 1])) end
  end
end

-- Whether an idle neighbour should look at once.
if served > 0 then look(NOW + lease_ms) end
if kept_count > 0 or not all then
  look(first_wanted())
else
  look(heads[first_head] and NOW or later)
end
if limited > 0 then redis.call('SET', queue_key(queue, 'choosy'), '1', 'PX', CHOOSY_MS) end
if look_at > 0 and look_at <= NOW then
  ring(queue)
elseif limited > 0 then
  redis.call('DEL', queue_key(queue, 'choosy_bell'))
  if left_out then ring_bell(queue, 'bell') end -- for one that is not choosy
else
  redis.call('DEL', queue_key(queue, 'bell'))
end
reply[2] = look_at
return reply
